/** The engine takes every client that Signet registers: its own rules never refuse at use what was accepted at registration. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { Provider } from "oidc-provider";
import { type Client, toProviderMetadata } from "../../src/clients/client.ts";
import { resolveClient } from "../../src/clients/metadata.ts";
import { parseClientInput } from "../../src/clients/schema.ts";
import { OPENID_SCOPES } from "../../src/scopes.ts";

const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" });
const signing = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const ecSigning = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
const web = { client_type: "web", client_name: "Web", redirect_uris: ["https://rp.example.com/cb"] };
const inputs: readonly Record<string, unknown>[] = [
  web,
  { ...web, redirect_uris: ["http://localhost:3001/cb", "https://rp.example.com"], scope: "openid" },
  { ...web, token_endpoint_auth_method: "client_secret_post", id_token_signed_response_alg: "ES256" },
  { ...web, token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [jwk] } },
  {
    ...web,
    client_uri: "https://rp.example.com",
    logo_uri: "http://localhost/logo.svg",
    contacts: ["ops+1@rp.example.com"],
    post_logout_redirect_uris: ["https://rp.example.com/bye"],
    default_max_age: 0,
    require_auth_time: true,
    initiate_login_uri: "https://rp.example.com/login",
  },
  { ...web, client_type: "spa", client_name: "Spa" },
  {
    client_type: "native",
    client_name: "Native",
    redirect_uris: ["com.example.app:/cb", "http://127.0.0.1/cb", "http://[::1]:8000/cb", "https://app.example.com/cb"],
    post_logout_redirect_uris: ["com.example.app:/bye"],
  },
  { client_type: "service", client_name: "Service" },
  { client_type: "resource-server", client_name: "Rs", apis: [{ identifier: "https://api.example.com" }] },
];

for (const input of inputs) {
  test(`the engine takes ${JSON.stringify(input).slice(0, 120)}`, async () => {
    const { type, name, metadata, settings } = resolveClient(parseClientInput(input), { isDevelopment: true });
    const moment = new Date();
    const client: Client = {
      ...{ id: "cl_1", type, name, metadata, settings, apis: [], secrets: [] },
      ...{ isDisabled: false, createdAt: moment, updatedAt: moment },
    };
    const stored = toProviderMetadata(client);
    const provider = new Provider("https://id.example.com", {
      clients: [stored as never],
      scopes: [...OPENID_SCOPES],
      jwks: { keys: [signing, ecSigning] as never },
      extraClientMetadata: { properties: ["signet_client_type"] },
      clientAuthMethods: ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
      features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    });
    const found = await provider.Client.find("cl_1");
    assert.ok(found !== undefined);
    const { client_id_issued_at: _, ...shown } = found.metadata() as Record<string, unknown>;
    // What the engine says of it is what Signet gave: nothing was dropped or filled in otherwise.
    for (const [field, value] of Object.entries(stored)) {
      if (field !== "client_id_issued_at") assert.deepEqual(shown[field], value, field);
    }
  });
}
