/** How a client is shown: to administrators and apps in the names of RFC 7591, to the engine as the metadata it knows. */
import { randomText } from "../secrets.ts";
import type { Client } from "./client.ts";
import { hasPeople, needsSecret } from "./metadata.ts";

/**
 * The engine insists on a secret in plain text for these clients and would compare with it. The real comparison is by hash
 * (secret.ts); should it ever be left out, then nothing matches, since nobody knows this text.
 */
const SECRET_MARKER = `unused_${randomText()}`;

/** What presentClient adds and no change may hold. */
export const READ_ONLY_FIELDS = [
  "client_id",
  "client_id_issued_at",
  "client_secret",
  "client_secret_expires_at",
  "secrets",
  "disabled",
];

/** RFC 7591 section 3.2.1, Signet's settings beside it; the secret only when it has just been made. Absent: not set. */
export function presentClient(client: Client, secret?: string): Record<string, unknown> {
  const { settings, metadata } = client;
  return present({
    client_id: client.id,
    client_secret: secret,
    client_id_issued_at: seconds(client.createdAt),
    // 0: it does not expire. Older secrets and their ends are in `secrets`.
    client_secret_expires_at: secret === undefined ? undefined : 0,
    client_name: client.name,
    client_type: client.type,
    ...metadata,
    ...(hasPeople(client.type)
      ? {
          first_party: settings.isFirstParty,
          web_origins: settings.webOrigins,
          refresh_window: settings.refreshWindowSeconds,
          refresh_idle: settings.refreshIdleSeconds,
          refresh_absolute: settings.refreshAbsoluteSeconds,
          pkce_optional: settings.isPkceOptional,
          optional_scopes: settings.optionalScopes,
        }
      : {}),
    introspect_apis: settings.introspectApis.length === 0 ? undefined : settings.introspectApis,
    apis: client.apis.map(({ identifier, scopes, isDefault }) => ({ identifier, scopes, default: isDefault })),
    secrets: needsSecret(metadata)
      ? client.secrets.map(({ id, hint, createdAt, expiresAt }) => ({
          id,
          hint,
          created_at: createdAt.toISOString(),
          expires_at: expiresAt?.toISOString() ?? null,
        }))
      : undefined,
    disabled: client.isDisabled,
  });
}

/** The metadata that oidc-provider's Client model takes, and `signet_client_type` beside it. */
export function toProviderMetadata(client: Client): Record<string, unknown> {
  const { software_id: _id, software_version: _version, ...known } = client.metadata;
  return present({
    client_id: client.id,
    client_name: client.name,
    client_id_issued_at: seconds(client.createdAt),
    client_secret: needsSecret(client.metadata) ? SECRET_MARKER : undefined,
    ...known,
    signet_client_type: client.type,
  });
}

function present(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function seconds(moment: Date): number {
  return Math.floor(moment.getTime() / 1000);
}
