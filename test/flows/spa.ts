/** A single-page app as its developer writes it: one script, no library, everything by fetch from its own origin. */
import type { Page } from "playwright-core";
import { page as answerPage, serve } from "./apps.ts";
import type { Journey, Registered } from "./journey.ts";

export interface Spa {
  readonly origin: string;
  readonly client: Registered;
}

/** What a call of the app's own script gave; `failed` is what the browser said when it kept the answer back. */
export interface Called {
  readonly status?: number;
  readonly body?: Record<string, unknown>;
  readonly failed?: string;
}

/** The page keeps the refresh token where its tabs share it, and hangs its functions on `app`, as a developer's console has them. */
function script(issuer: string, clientId: string): string {
  return `
const issuer = ${JSON.stringify(issuer)}, clientId = ${JSON.stringify(clientId)};
const redirectUri = location.origin + "/";
const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/[+]/g, "-").replace(/[/]/g, "_").replace(/=+$/, "");
const discovered = fetch(issuer + "/.well-known/openid-configuration").then((answer) => answer.json());
const call = async (url, options) => {
  try {
    const answer = await fetch(url, options);
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? {} : JSON.parse(text) };
  } catch (error) {
    return { failed: error.name };
  }
};
const post = async (endpoint, fields) => call((await discovered)[endpoint], { method: "POST", body: new URLSearchParams({ client_id: clientId, ...fields }) });
const keep = (answer) => {
  if (answer.status === 200) {
    app.accessToken = answer.body.access_token;
    if (answer.body.refresh_token) localStorage.setItem("refresh", answer.body.refresh_token);
  }
  return answer;
};
const app = {
  accessToken: undefined,
  stored: () => localStorage.getItem("refresh"),
  async signIn(more = {}) {
    const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
    const state = base64url(crypto.getRandomValues(new Uint8Array(16)));
    sessionStorage.setItem("pending", JSON.stringify({ verifier, state }));
    const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
    const query = new URLSearchParams({ response_type: "code", client_id: clientId, redirect_uri: redirectUri, scope: "openid profile email",
      code_challenge: challenge, code_challenge_method: "S256", state, ...more });
    location.assign((await discovered).authorization_endpoint + "?" + query);
  },
  userinfo: async (token = app.accessToken) => call((await discovered).userinfo_endpoint, { headers: { Authorization: "Bearer " + token } }),
  refresh: async (token = localStorage.getItem("refresh"), more = {}) => keep(await post("token_endpoint", { grant_type: "refresh_token", refresh_token: token, ...more })),
  revoke: (token) => post("revocation_endpoint", { token }),
  read: (url, options) => call(url, options),
};
globalThis.app = app;
const show = (text) => { document.querySelector("#state").textContent = text; };
const query = new URLSearchParams(location.search);
if (query.has("code")) {
  const { verifier, state } = JSON.parse(sessionStorage.getItem("pending"));
  if (query.get("state") !== state || query.get("iss") !== issuer) throw new Error("a foreign answer");
  history.replaceState(null, "", "/");
  post("token_endpoint", { grant_type: "authorization_code", code: query.get("code"), redirect_uri: redirectUri, code_verifier: verifier })
    .then(keep).then((answer) => show(answer.status === 200 ? "signed in" : "refused"));
} else show(query.get("error") ?? "ready");
`;
}

export async function startSpa(journey: Journey, metadata: Readonly<Record<string, unknown>> = {}): Promise<Spa> {
  let client: Registered | undefined;
  const origin = await serve((_request, response) =>
    answerPage(response, `<p id="state"></p><script>${script(journey.issuer, client?.id ?? "")}</script>`),
  );
  client = await journey.register({
    client_type: "spa",
    client_name: "Harbor Board",
    redirect_uris: [`${origin}/`],
    ...metadata,
  });
  return { origin, client };
}

/** Calls a function of the app in the page. */
export async function call(page: Page, name: string, ...values: readonly unknown[]): Promise<Called> {
  return page.evaluate(
    ([wanted, given]) => {
      const app = Reflect.get(globalThis, "app") as Record<string, (...values: unknown[]) => Promise<Called>>;
      return (app[wanted] as (...values: unknown[]) => Promise<Called>)(...given);
    },
    [name, values] as const,
  );
}
