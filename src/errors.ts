/** Errors: every refusal that Signet itself can give, in one table. OAuth errors are the engine's; these are ours. */

/** A refusal has a status and a sentence that says what to do. The detail of an AppError goes to the log and to developers, never to a stranger. */
export interface ErrorRow {
  readonly status: number;
  readonly message: string;
}

export const ERRORS = {
  page_not_found: { status: 404, message: "There is no page at this address." },
  method_not_allowed: { status: 405, message: "This address does not take this kind of request." },
  host_unknown: { status: 421, message: "This server answers at another address." },
  request_target_absolute: { status: 400, message: "The request line must hold a path." },
  request_malformed: { status: 400, message: "The request could not be read." },
  request_target_too_long: { status: 414, message: "The address of the request is longer than this server takes." },
  body_too_large: { status: 413, message: "The request is larger than this address takes." },
  body_type_unsupported: { status: 415, message: "The request has a content type that this address does not take." },
  form_foreign: {
    status: 403,
    message: "This form did not come from this page. Open the page again and send it from there.",
  },
  interaction_gone: {
    status: 400,
    message: "This sign-in has ended or was begun in another browser. Go back to the app and start again.",
  },
  store_unavailable: { status: 503, message: "A part of this service is not answering. Try again in a few seconds." },
  hasher_busy: { status: 503, message: "Many people are signing in right now. Try again in a few seconds." },
  login_failed: { status: 401, message: "The e-mail address or the password does not match an account." },
  login_throttled: { status: 429, message: "Too many attempts. Wait a moment and try again." },
  client_throttled: {
    status: 429,
    message: "Too many failed attempts of this client from this address. Wait a moment.",
  },
  setup_link_gone: { status: 404, message: "This set-up link has been used or has expired." },
  user_email_invalid: { status: 400, message: "The e-mail address cannot be used." },
  user_email_taken: { status: 409, message: "Another user has this e-mail address." },
  user_password_refused: { status: 400, message: "The password cannot be used." },
  user_unknown: { status: 404, message: "There is no such user." },
  user_invalid: { status: 400, message: "The user's data cannot be used." },
  sign_up_closed: { status: 404, message: "Nobody can sign up here." },
  link_gone: { status: 404, message: "This link has been used or has expired." },
  mail_unknown: { status: 404, message: "There is no such mail that could be sent again." },
  mail_off: { status: 503, message: "This server sends no mail." },
  network_denied: { status: 403, message: "This network is kept out." },
  user_last_owner: { status: 409, message: "The last owner cannot be disabled." },
  client_unknown: { status: 404, message: "There is no such client." },
  client_invalid: { status: 400, message: "The client's metadata cannot be used." },
  client_redirect_uri_invalid: { status: 400, message: "The redirect URI cannot be registered." },
  client_has_no_secret: {
    status: 400,
    message: "This client has no secret: its type or its authentication method needs none.",
  },
  client_secrets_too_many: {
    status: 409,
    message: "The client has as many live secrets as it can have. Let one expire first.",
  },
  api_unknown: { status: 404, message: "There is no such API." },
  api_invalid: { status: 400, message: "The API's data cannot be used." },
  api_identifier_taken: { status: 409, message: "Another API has this identifier." },
  api_builtin: { status: 409, message: "Signet's own API cannot be changed or deleted." },
  role_unknown: { status: 404, message: "There is no such role." },
  role_invalid: { status: 400, message: "The role's data cannot be used." },
  role_name_taken: { status: 409, message: "Another role has this name." },
  role_builtin: { status: 409, message: "A built-in role cannot be changed or deleted." },
  role_holder_invalid: { status: 400, message: "The role cannot be given to this holder." },
  key_unknown: { status: 404, message: "There is no such signing key. See: signet key list" },
  key_invalid: { status: 400, message: "The key cannot be imported." },
  key_taken: { status: 409, message: "Signet has or had this key already." },
  audit_broken: { status: 409, message: "The audit trail is not what was sealed." },
  failure_unknown: { status: 404, message: "There is no failure with this id." },
  resource_unknown: { status: 404, message: "There is no such resource." },
  token_missing: {
    status: 401,
    message: "This address takes an access token of this server, as Authorization: Bearer.",
  },
  token_invalid: {
    status: 401,
    message: "The token is no living access token of this server for urn:signet:admin.",
  },
  scope_missing: { status: 403, message: "The token does not have the scope that this operation needs." },
  reach_exceeded: { status: 403, message: "Nobody gives, or changes for others, more than they hold themselves." },
  console_closed: { status: 403, message: "This account has no right in the console. An owner can give it a role." },
  rest_throttled: { status: 429, message: "Too many requests were refused. Wait a moment." },
  request_invalid: { status: 400, message: "The request does not have the shape that this operation takes." },
  cursor_invalid: {
    status: 400,
    message: "This is no cursor of this list with these filters. Begin again without it.",
  },
  version_changed: {
    status: 412,
    message: "Somebody else has changed it since you read it. Read it again and repeat your change.",
  },
  idempotency_key_invalid: { status: 400, message: "An Idempotency-Key has 1 to 255 printable ASCII characters." },
  idempotency_key_reused: { status: 422, message: "This Idempotency-Key was used for another request." },
  idempotency_running: { status: 409, message: "A request with this Idempotency-Key is being worked on." },
  secret_unknown: { status: 404, message: "The client has no such live secret." },
  session_unknown: { status: 404, message: "The user has no such session." },
  grant_unknown: { status: 404, message: "The user has no such grant." },
  consent_unknown: { status: 404, message: "The user has not consented to this client." },
  command_usage: { status: 400, message: "The command was called in a way it does not know." },
  internal: { status: 500, message: "Something went wrong on our side. Nothing was changed." },
} as const satisfies Readonly<Record<string, ErrorRow>>;

export type ErrorCode = keyof typeof ERRORS;

/** The code is for the caller, the detail for the developer and the log. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, detail?: string, retryAfterSeconds?: number) {
    super(detail === undefined ? ERRORS[code].message : `${ERRORS[code].message} ${detail}`);
    this.code = code;
    this.detail = detail;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }
}

/** Whether the error says that a store does not answer: the caller gets 503 and may try again. Set by the rooms that own a driver. */
export function unavailable(detail: string): AppError {
  return new AppError("store_unavailable", detail, 2);
}
