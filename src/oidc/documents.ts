/** The engine's public documents: discovery as the library states it, and the JWKS as the keyring publishes it; both written once per provider. */
import type { JWK } from "jose";
import type { Middleware } from "koa";
import type { Provider } from "oidc-provider";
import { askInMemory, type Documents, documentOf } from "../http/documents.ts";
import { ROUTES } from "./provider.ts";

/** OpenID Connect Discovery section 4, RFC 8414 section 3. */
const DISCOVERY_PATHS = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] as const;
const JWKS_TYPE = "application/jwk-set+json; charset=utf-8";
const JSON_TYPE = "application/json; charset=utf-8";

/** The library would also publish what is kept for hints alone, so its own JWKS is never sent. */
export async function documentsOf(provider: Provider, published: readonly JWK[]): Promise<Documents> {
  const discovery = await Promise.all(
    DISCOVERY_PATHS.map(async (path) => {
      const { body } = await askInMemory(provider, provider.middleware as Middleware[], {
        issuer: provider.issuer,
        path,
      });
      if (typeof body !== "object" || body === null) throw new Error(`the engine gave no document for ${path}`);
      return [path, documentOf(body, JSON_TYPE)] as const;
    }),
  );
  return new Map([...discovery, [ROUTES.jwks, documentOf({ keys: published }, JWKS_TYPE)]]);
}
