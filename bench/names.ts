/** Names that the controls and the load agree on. */
export const API = "https://api.bench.example/things";
export const CALLBACK = "https://app.bench.example/callback";
export const WEB = "web";
export const MACHINE = "machine";
/** Of the control's clients only; Signet makes its own. */
export const SECRET = "a secret of the control, not of Signet";
export const PASSWORD = "correct horse battery staple";
