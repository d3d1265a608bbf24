/**
 * The control: the library alone, with its store in memory and the smallest interactions that sign somebody in without a hash.
 * Arguments: port, issuer, "opaque" (RS256 ID tokens, opaque access tokens) or "jwt" (ES256 JWT access tokens).
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { exportJWK, generateKeyPair, type JWK } from "jose";
import { type Configuration, Provider } from "oidc-provider";
import { API, CALLBACK, MACHINE, SECRET, WEB } from "../names.ts";

const [port = "", issuer = "", kind = "opaque"] = process.argv.slice(2);
const FORM = (action: string, marker: string): string =>
  `<!doctype html><title>Control</title><form method="post" action="${action}"><input type="hidden" name="csrf" value="none">${marker}</form>`;

async function key(alg: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair(alg, { modulusLength: 2048, extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig", kid: alg };
}

const jwt = {
  scope: "read:things",
  audience: API,
  accessTokenTTL: 600,
  accessTokenFormat: "jwt",
  jwt: { sign: { alg: "ES256" } },
} as const;

const configuration: Configuration = {
  clients: [
    {
      client_id: WEB,
      client_secret: SECRET,
      redirect_uris: [CALLBACK],
      grant_types: ["authorization_code", "refresh_token"],
    },
    {
      client_id: MACHINE,
      client_secret: SECRET,
      redirect_uris: [],
      response_types: [],
      grant_types: ["client_credentials"],
    },
  ],
  claims: { openid: ["sub"], profile: ["name"], email: ["email"] },
  cookies: { keys: ["control"] },
  expiresWithSession: async (_ctx, token) => !token.scopes.has("offline_access"),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: kind === "jwt",
      defaultResource: async () => API,
      getResourceServerInfo: async () => jwt,
      useGrantedResource: async () => true,
    },
  },
  findAccount: async (_ctx, sub) => ({
    accountId: sub,
    claims: async () => ({ sub, name: "Maya Lindqvist", email: "maya@lindqvist.example" }),
  }),
  interactions: { url: async (_ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: async () => true,
  jwks: { keys: [await key("RS256"), await key("ES256")] as NonNullable<Configuration["jwks"]>["keys"] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  routes: { authorization: "/authorize", userinfo: "/userinfo", introspection: "/introspect" },
  ttl: {
    AccessToken: 600,
    ClientCredentials: 600,
    RefreshToken: 86_400,
    Session: 86_400,
    Grant: 86_400,
    Interaction: 600,
  },
};

const provider = new Provider(issuer, configuration);
provider.proxy = true;
const callback = provider.callback();

async function interaction(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  const path = request.url ?? "";
  if (request.method === "GET") {
    const form =
      prompt.name === "login"
        ? FORM(`${path}/login`, '<input name="email"><input name="password" type="password">')
        : FORM(`${path}/consent`, '<button name="decision" value="allow">Allow</button>');
    response.writeHead(200, { "content-type": "text/html", "content-length": Buffer.byteLength(form) }).end(form);
    return;
  }
  for await (const _chunk of request);
  if (path.endsWith("/login")) {
    return provider.interactionFinished(request, response, { login: { accountId: "maya" } });
  }
  const accountId = session?.accountId ?? "";
  const found = grantId === undefined ? undefined : await provider.Grant.find(grantId);
  const grant = found ?? new provider.Grant({ accountId, clientId: String(params["client_id"]) });
  grant.addOIDCScope(String(params["scope"]));
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

createServer((request, response) => {
  if (request.url?.startsWith("/interaction/") !== true) {
    void callback(request, response);
    return;
  }
  interaction(request, response).catch((error: Error) => response.writeHead(500).end(error.message));
}).listen(Number(port), "127.0.0.1");
