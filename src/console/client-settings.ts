/** Console: what an app needs to know of this server, for each framework that its kind is written in, at any time and without the secret. */
import { DOTS, environment, type Facts, type Framework, factsOf, importing, lines, quote } from "./client-facts.ts";
import { aspNet, django, express, nextJs, springBoot } from "./client-snippets.ts";
import { clientCrumbs, clientPath } from "./clients.ts";
import { listOf, textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";

export const settingsPage: ConsolePage = {
  path: "/admin/clients/:client_id/settings",
  section: "clients",
  shows: ["getClient"],
  async show(visit) {
    const { texts } = visit;
    const { body: client } = await visit.ask("getClient");
    visit.show(
      "console/client-connect",
      {
        title: texts.t("console.clients.settings_title", { name: textOf(client, "client_name") }),
        lead: texts.t("console.clients.settings_lead"),
        crumbs: clientCrumbs(visit, client),
      },
      { steps: [], frameworks: shownFrameworks(visit, client), facts: [], next: undefined },
    );
  },
};

/** The frameworks of the client's kind, each with what has to be changed before it can work. */
export function shownFrameworks(visit: Visit, client: Thing) {
  const { texts, issuer } = visit;
  const method = textOf(client, "token_endpoint_auth_method");
  const paths = listOf(client, "redirect_uris").map((uri) => new URL(uri).pathname);
  const isSecret = method.startsWith("client_secret_");
  return frameworksOf(client, factsOf(client, issuer)).map(({ label, snippets, callback, method: needed }) => ({
    label: label === "" ? texts.t("console.clients.any_other") : label,
    notes: [
      ...(callback !== undefined && !paths.includes(callback)
        ? [texts.t("console.clients.needs_callback", { address: originOf(client) + callback })]
        : []),
      ...(needed !== undefined && needed !== method
        ? [texts.t("console.clients.needs_method", { method: needed })]
        : []),
    ],
    edit: visit.may("clients:write") ? `${clientPath(client)}/edit` : undefined,
    snippets: snippets.map(({ file, code }) => ({
      help: file === "" ? undefined : texts.t("console.clients.put_in", { file }),
      dots: isSecret && code.includes(DOTS) ? texts.t("console.clients.dots") : undefined,
      lines: code.split("\n").map(lineOf),
    })),
  }));
}

/** Names of settings stand out, as in `NAME=value`. */
function lineOf(text: string): { readonly name: string; readonly rest: string } {
  const [, name = "", rest = text] = /^(\s*[A-Z][A-Z0-9_]*)( ?=.*)$/s.exec(text) ?? [];
  return { name, rest };
}

function frameworksOf(client: Thing, facts: Facts): readonly Framework[] {
  switch (client["client_type"]) {
    case "web":
      // Whoever signs its assertions has no secret to paste; what such a library asks for is in the list.
      if (client["token_endpoint_auth_method"] === "private_key_jwt") return [anyOther(client, facts)];
      return [express(facts), nextJs(facts), springBoot(facts), django(facts), aspNet(facts), anyOther(client, facts)];
    case "spa":
      return [oidcClientTs(facts), anyOther(client, facts)];
    case "native":
      return [appAuthAndroid(facts), appAuthIos(facts), anyOther(client, facts)];
    case "service":
      return [curl(facts), anyOther(client, facts)];
    default:
      return [verifier(facts), introspection(facts), anyOther(client, facts)];
  }
}

function oidcClientTs({ issuer, id, redirect, afterLogout, scope, api }: Facts): Framework {
  const code = `${importing("{ UserManager }", "oidc-client-ts")}

export const signet = new UserManager({
  authority: ${quote(issuer)},
  client_id: ${quote(id)},
  redirect_uri: ${quote(redirect)},${afterLogout === undefined ? "" : `\n  post_logout_redirect_uri: ${quote(afterLogout)},`}
  scope: ${quote(scope)},${api === undefined ? "\n  loadUserInfo: true," : `\n  resource: ${quote(api)},`}
});

// The button "Sign in":
await signet.signinRedirect();

// At the redirect address:
const user = await signet.signinRedirectCallback();`;
  return {
    label: "oidc-client-ts",
    snippets: [
      { file: "", code: "npm install oidc-client-ts" },
      { file: "signet.js", code },
    ],
  };
}

function appAuthAndroid({ issuer, id, redirect, scope, api }: Facts): Framework {
  const parameters = api === undefined ? "" : `\n    .setAdditionalParameters(mapOf("resource" to ${quote(api)}))`;
  const code = `AuthorizationServiceConfiguration.fetchFromIssuer(Uri.parse(${quote(issuer)})) { configuration, error ->
  if (configuration == null) return@fetchFromIssuer
  val request = AuthorizationRequest.Builder(
    configuration, ${quote(id)}, ResponseTypeValues.CODE, Uri.parse(${quote(redirect)})
  ).setScope(${quote(scope)})${parameters}
    .build()
  launcher.launch(AuthorizationService(context).getAuthorizationRequestIntent(request))
}`;
  const gradle = `implementation("net.openid:appauth:0.11.1")
android.defaultConfig.manifestPlaceholders["appAuthRedirectScheme"] = ${quote(redirect.split(":")[0] ?? "")}`;
  return {
    label: "AppAuth, Android",
    snippets: [
      { file: "build.gradle.kts", code: gradle },
      { file: "SignIn.kt", code },
    ],
  };
}

function appAuthIos({ issuer, id, redirect, scope, api }: Facts): Framework {
  const code = `OIDAuthorizationService.discoverConfiguration(forIssuer: URL(string: ${quote(issuer)})!) { configuration, error in
  guard let configuration else { return }
  let request = OIDAuthorizationRequest(
    configuration: configuration,
    clientId: ${quote(id)},
    scopes: ${JSON.stringify(scope.split(" ")).replaceAll(",", ", ")},
    redirectURL: URL(string: ${quote(redirect)})!,
    responseType: OIDResponseTypeCode,
    additionalParameters: ${api === undefined ? "nil" : `["resource": ${quote(api)}]`})
  currentFlow = OIDAuthState.authState(byPresenting: request, presenting: viewController) { state, error in
    authState = state
  }
}`;
  return { label: "AppAuth, iOS", snippets: [{ file: "SignIn.swift", code }] };
}

function curl({ issuer, id, api, apiScopes, isPost }: Facts): Framework {
  const credentials = isPost
    ? ['--data-urlencode "client_id=$CLIENT_ID"', '--data-urlencode "client_secret=$CLIENT_SECRET"']
    : ['--user "$CLIENT_ID:$CLIENT_SECRET"'];
  const parts = [
    ...credentials,
    "--data grant_type=client_credentials",
    ...(api === undefined ? [] : [`--data-urlencode ${shell(`resource=${api}`)}`]),
    ...(apiScopes === "" ? [] : [`--data-urlencode ${shell(`scope=${apiScopes}`)}`]),
  ];
  return {
    label: "curl",
    snippets: [
      {
        file: "",
        code: lines([
          ["CLIENT_ID", id],
          ["CLIENT_SECRET", DOTS],
        ]),
      },
      { file: "", code: `curl ${issuer}/token \\\n${parts.map((part) => `  ${part}`).join(" \\\n")}` },
    ],
  };
}

function verifier({ issuer, id, api }: Facts): Framework {
  const code = `${importing("{ createVerifier, expressAuth }", "signet-verifier")}

const verifier = createVerifier({
  issuer: ${quote(issuer)},
  audience: ${quote(api ?? "")},
  introspection: { clientId: ${quote(id)}, clientSecret: process.env.CLIENT_SECRET },
});

app.get("/things", expressAuth(verifier, { scope: "read:things" }), (request, response) => {
  response.json({ for: request.auth.subject });
});`;
  return {
    label: "signet-verifier (Node.js)",
    snippets: [
      { file: ".env", code: lines([["CLIENT_SECRET", DOTS]]) },
      { file: "api.mjs", code },
    ],
  };
}

function introspection({ issuer, id, isPost }: Facts): Framework {
  const credentials = isPost
    ? '  --data-urlencode "client_id=$CLIENT_ID" \\\n  --data-urlencode "client_secret=$CLIENT_SECRET" \\'
    : '  --user "$CLIENT_ID:$CLIENT_SECRET" \\';
  return {
    label: "curl",
    snippets: [
      {
        file: "",
        code: lines([
          ["CLIENT_ID", id],
          ["CLIENT_SECRET", DOTS],
        ]),
      },
      { file: "", code: `curl ${issuer}/introspect \\\n${credentials}\n  --data-urlencode "token=$ACCESS_TOKEN"` },
    ],
  };
}

/** Everything that some library may ask for. */
function anyOther(client: Thing, facts: Facts): Framework {
  const { issuer } = facts;
  const method = textOf(client, "token_endpoint_auth_method");
  const hasPeople = listOf(client, "redirect_uris").length > 0;
  const pairs = [
    ["DISCOVERY_URL", `${issuer}/.well-known/openid-configuration`],
    ...environment(facts).filter(([name]) => name !== "CLIENT_SECRET" || method.startsWith("client_secret_")),
    ["TOKEN_ENDPOINT_AUTH_METHOD", method],
    ...(hasPeople
      ? [
          ["CODE_CHALLENGE_METHOD", "S256"],
          ["AUTHORIZATION_ENDPOINT", `${issuer}/authorize`],
          ["USERINFO_ENDPOINT", `${issuer}/userinfo`],
          ["END_SESSION_ENDPOINT", `${issuer}/logout`],
        ]
      : []),
    ["TOKEN_ENDPOINT", `${issuer}/token`],
    ["INTROSPECTION_ENDPOINT", `${issuer}/introspect`],
    ["JWKS_URI", `${issuer}/jwks`],
  ];
  return { label: "", snippets: [{ file: "", code: lines(pairs) }] };
}

/** One word for a shell, whatever it holds. */
function shell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function originOf(client: Thing): string {
  const [uri = ""] = listOf(client, "redirect_uris");
  return URL.canParse(uri) ? new URL(uri).origin : "";
}
