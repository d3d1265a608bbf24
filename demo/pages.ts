/** The demo app's pages. They show what tokens say, never a token. */
import { type Html, html } from "./html.ts";
import type { Claims, SignedIn } from "./relying-party.ts";
import type { Outcome, Session } from "./sessions.ts";

export interface Site {
  readonly self: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly api: string;
  readonly apiScope: string;
  /** Everything that a sign-in asks for. */
  readonly scope: string;
}

/** What a claim means, for a reader who meets it for the first time. */
const MEANINGS: Readonly<Record<string, string>> = {
  sub: "who: stable, and never reused",
  iss: "who says so",
  aud: "for whom it is",
  azp: "for whom it is",
  exp: "until when",
  iat: "made at",
  nbf: "not before",
  auth_time: "when the person signed in",
  nonce: "ties it to this sign-in",
  at_hash: "ties it to the access token",
  s_hash: "ties it to the state",
  sid: "the session at Signet",
  jti: "this token's own id",
  client_id: "which app holds it",
  scope: "what it may be used for",
  acr: "how the person signed in",
  amr: "with what the person signed in",
  email_verified: "whether the address was proven",
};
const TIMES = new Set(["exp", "iat", "nbf", "auth_time", "updated_at"]);

export function signedOutPage(site: Site): Html {
  return page(site, "Demo app", [
    html`<section class="hero">
      <h1>Your notes, without one more password</h1>
      <p class="lead">This is a small app on a site of its own. It keeps no accounts: it asks Signet who you are, and gets
        tokens for the notes API. It knows an issuer, a client id and a secret, as any app does.</p>
      <a class="button primary" href="/login">Sign in with Signet</a>
      <p class="hint">The terminal that started Signet shows an e-mail address and a password to try.</p>
    </section>`,
    html`<ol class="steps">
      <li><h2>You sign in at Signet</h2><p>Your password stays there. This app never sees it.</p></li>
      <li><h2>You decide</h2><p>Signet asks what this app may know and do. No is an answer, too.</p></li>
      <li><h2>The app gets tokens</h2><p>One says who you are, one opens the notes API for a few minutes, one renews both.</p></li>
    </ol>`,
    html`<section class="card">
      <h2>What this app knows</h2>
      ${pairs([
        ["Issuer", site.issuer],
        ["Client id", site.clientId],
        ["API", site.api],
        ["It will ask for", chips(site.scope.split(" "))],
      ])}
    </section>`,
  ]);
}

export function signedInPage(site: Site, session: Session): Html {
  const { signedIn } = session;
  const name = text(signedIn.userinfo?.claims["name"]) ?? text(signedIn.idClaims["name"]) ?? signedIn.idClaims.sub;
  const email = text(signedIn.userinfo?.claims["email"]) ?? text(signedIn.idClaims["email"]);
  const body = [
    html`<section class="hello">
      <h1>Hello, <bdi>${name}</bdi></h1>
      <p class="lead">${email === undefined ? "" : html`You are signed in as <bdi>${email}</bdi>. `}Signet has told this app who you are; below is all it was told.</p>
      <div class="actions">
        ${button("/call-api", "Call the API", "primary")}
        ${button("/refresh", "Refresh")}
        ${button("/logout", "Sign out")}
      </div>
    </section>`,
    session.outcome !== undefined && outcomeCard(session.outcome),
    html`<div class="columns">
      <div>
        <section class="card"><h2>Access</h2>${accessPart(site, signedIn)}</section>
        <section class="card">
          <h2>ID token</h2>
          <p>For this app: who signed in, and for which sign-in that is the answer. Its signature was checked with Signet's published keys.</p>
          ${claimsTable(signedIn.idClaims)}
        </section>
      </div>
      <div>
        <section class="card"><h2>What /userinfo says</h2>${userinfoPart(signedIn)}</section>
        <section class="card"><h2>Access token</h2>${accessTokenPart(signedIn)}</section>
      </div>
    </div>`,
  ];
  return page(site, `Demo app: ${name}`, body, "wide");
}

/** The person said no at the consent page: that is an answer, not a fault. */
export function deniedPage(site: Site): Html {
  return page(site, "Nothing was shared", [
    html`<section class="hero">
      <h1>You said no, and that is fine</h1>
      <p class="lead">Signet shared nothing with this app, and this app keeps nothing. You can ask to see the choice again, or leave it.</p>
      <div class="actions"><a class="button primary" href="/login">Show me the choice again</a><a class="button" href="/">Back to the start</a></div>
      <p class="hint">The app was told: <code>access_denied</code></p>
    </section>`,
  ]);
}

export function faultPage(site: Site, fault: { title: string; words: string; code: string }): Html {
  return page(site, fault.title, [
    html`<section class="hero">
      <h1>${fault.title}</h1>
      <p class="lead">${fault.words}</p>
      <p>Code: <code class="code">${fault.code}</code></p>
      <div class="actions"><a class="button primary" href="/login">Sign in again</a><a class="button" href="/">Back to the start</a></div>
    </section>`,
  ]);
}

function outcomeCard(outcome: Outcome): Html {
  if (outcome.kind === "refreshed")
    return html`<section class="card result" id="result" role="status"><h2>The tokens are new</h2>
      <p>The refresh token was spent; its successor came back, with a new access token and fresh claims.</p></section>`;
  if (outcome.kind === "fault")
    return html`<section class="card result bad" id="result" role="alert"><h2>${outcome.doing} did not work</h2>
      <p>${outcome.words}</p><p>Code: <code class="code">${outcome.code}</code></p>
      <p><a href="/login">Sign in again</a></p></section>`;
  return outcome.status === 200 ? notesCard(outcome.body) : refusalCard(outcome);
}

function notesCard(body: unknown): Html {
  const { notes, token } = record(body);
  const checked = record(token);
  const list = Array.isArray(notes) ? notes.map(record) : [];
  return html`<section class="card result" id="result" role="status">
    <h2>The API answered 200</h2>
    <ul class="notes">${list.map((note) => html`<li><h3>${text(note["title"])}</h3><p>${text(note["text"])}</p></li>`)}</ul>
    <p>Before it did, it verified the token with nothing but Signet's published keys:</p>
    <ul class="checks">
      <li>signed with ES256 by a key of <code>${text(checked["iss"])}</code></li>
      <li>an access token (<code>at+jwt</code>), made for <code>${text(checked["aud"])}</code></li>
      <li>still valid, and it carries <code>${text(checked["scope"])}</code></li>
      <li>for the person <code>${text(checked["sub"])}</code>, by the app <code>${text(checked["client_id"])}</code></li>
    </ul>
  </section>`;
}

function refusalCard(outcome: Extract<Outcome, { kind: "api" }>): Html {
  const { error, error_description } = record(outcome.body);
  return html`<section class="card result bad" id="result" role="alert">
    <h2>The API answered ${outcome.status}</h2>
    <p>${text(error_description) ?? "It gave no reason."}</p>
    <p>Code: <code class="code">${text(error) ?? "none"}</code></p>
    ${outcome.challenge !== null && html`<p><code>WWW-Authenticate: ${outcome.challenge}</code></p>`}
  </section>`;
}

function accessPart(site: Site, { scopes, userinfo, accessEndsAt, refreshToken, refreshes }: SignedIn): Html {
  return pairs([
    ["This app asked for", chips(site.scope.split(" "))],
    ["The API's token carries", scopes.length === 0 ? "nothing" : chips(scopes)],
    ["The one for /userinfo", userinfo === undefined ? "none yet" : chips(userinfo.scopes)],
    ["The access token ends", accessEndsAt === undefined ? "not said" : moment(accessEndsAt)],
    ["It can be renewed", refreshToken === undefined ? "no, there is no refresh token" : "yes, with a refresh token"],
    ["Renewed so far", times(refreshes)],
  ]);
}

function chips(scopes: readonly string[]): Html {
  return html`<ul class="chips">${scopes.map((scope) => html`<li><code>${scope}</code></li>`)}</ul>`;
}

function userinfoPart({ userinfo, refreshToken }: SignedIn): Html {
  if (userinfo !== undefined)
    return html`<p>Asked with a token of its own: the one for the API is not for this address.</p>${claimsTable(userinfo.claims)}`;
  return refreshToken === undefined
    ? html`<p>The access token is for the API alone. One for /userinfo would come from a refresh, and you did not allow
        <code>offline_access</code>, so there is no refresh token.</p>`
    : html`<p>It has not answered yet. Refresh asks again.</p>`;
}

function accessTokenPart({ accessTokenShown }: SignedIn): Html {
  if (accessTokenShown === undefined) return html`<p>It is opaque: only Signet can say what it stands for.</p>`;
  return html`<p>For the API. An app passes it on and never needs to look inside; this one does so to show what the API reads.</p>
    ${claimsTable({ ...accessTokenShown.header, ...accessTokenShown.claims })}`;
}

function claimsTable(claims: Claims): Html {
  return html`<table><tbody>${Object.entries(claims).map(
    ([name, value]) => html`<tr>
      <th scope="row"><code>${name}</code>${MEANINGS[name] !== undefined && html`<span>${MEANINGS[name]}</span>`}</th>
      <td><bdi>${claimText(name, value)}</bdi></td>
    </tr>`,
  )}</tbody></table>`;
}

function claimText(name: string, value: unknown): string {
  if (typeof value === "number" && TIMES.has(name)) return `${value}, which is ${utc(new Date(value * 1000))}`;
  return typeof value === "string" ? value : JSON.stringify(value);
}

function pairs(rows: readonly (readonly [string, string | Html])[]): Html {
  return html`<dl>${rows.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function button(action: string, label: string, kind = ""): Html {
  return html`<form method="post" action="${action}"><button class="button ${kind}" type="submit">${label}</button></form>`;
}

function moment(date: Date): string {
  const seconds = Math.round((date.getTime() - Date.now()) / 1000);
  if (seconds <= 0) return `${utc(date)}: it has ended, Refresh gets a new one`;
  const left = seconds < 120 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`;
  return `${utc(date)}, ${left} from now`;
}

function utc(date: Date): string {
  return Number.isNaN(date.getTime()) ? "no time" : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function times(count: number): string {
  return count === 0 ? "not yet" : count === 1 ? "once" : `${count} times`;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function record(value: unknown): Claims {
  return typeof value === "object" && value !== null ? (value as Claims) : {};
}

function page(site: Site, title: string, body: readonly (Html | false)[], width = ""): Html {
  return html`${DOCTYPE}<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>${title}</title>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/style.css">
</head>
<body class="${width}">
  <header><a class="brand" href="/"><img src="/icon.svg" alt="" width="36" height="36">Demo app</a><span class="where">${new URL(site.self).host}</span></header>
  <main>${body}</main>
  <footer><p>A site of its own, for trying Signet at <a href="${site.issuer}">${new URL(site.issuer).host}</a>. It keeps what it knows in memory and forgets it when it stops.</p></footer>
</body>
</html>
`;
}

const DOCTYPE: Html = { html: "<!doctype html>\n" };
