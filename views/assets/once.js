// A second press while the first is on its way would interrupt it, and what it brought would be lost: the first one counts. When nothing has come of it for some seconds, a press counts again.
const WAIT_MS = 5000;
let sentAt = -WAIT_MS;
document.addEventListener("submit", (event) => {
  if (event.timeStamp - sentAt < WAIT_MS) event.preventDefault();
  else sentAt = event.timeStamp;
});
// The browser may bring the page back just as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) sentAt = -WAIT_MS;
});
