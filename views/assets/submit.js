// Presses the button that the person has already pressed elsewhere: the app asked to sign out and proved for whom. Without scripts the button waits for a click.
const button = document.querySelector("button[data-answered]");
button?.form?.requestSubmit(button);
