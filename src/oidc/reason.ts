/** Reasons: what the developer of an app is told, in development, about a request that was refused: what came, and what is registered. */
import type { Context } from "koa";
import type { KoaContextWithOIDC } from "oidc-provider";
import type { Client, Clients } from "../clients/client.ts";
import { allowedOrigins } from "./client-traits.ts";
import { ROUTES } from "./provider.ts";

/** Long enough to see the difference, short enough that no request makes the page long. */
const VALUE_CHARS_MAX = 200;
const REGISTERED_MAX = 10;
const EXACTLY = "The comparison is exact: scheme, host, port, path, a slash at the end and capitals count.";

interface Refusal {
  readonly error: string;
  readonly error_description?: string | undefined;
}

/** One paragraph in English with the values in it; undefined when the refusal says all there is to say. For development only: it tells a stranger what is registered. */
export async function developerReason(
  ctx: KoaContextWithOIDC,
  refusal: Refusal,
  clients: Clients,
): Promise<string | undefined> {
  const id = parameterOf(ctx, "client_id") ?? ctx.oidc.client?.clientId;
  if (id === undefined) return undefined;
  const client = await clients.find(ctx.oidc.client?.clientId ?? id).catch(() => undefined);
  if (refusal.error === "invalid_client") return clientReason(id, client);
  if (client === undefined) return undefined;
  const { redirect_uris: redirects = [], post_logout_redirect_uris: afterLogout = [] } = client.metadata;
  if (refusal.error === "invalid_redirect_uri") {
    const sent = parameterOf(ctx, "redirect_uri") ?? "";
    return `redirect_uri ${cut(sent)} is not registered for client ${client.id}; ${registered(redirects)} ${EXACTLY}`;
  }
  const { error_description: description = "" } = refusal;
  if (ctx.path === ROUTES.authorization && /required parameter.*\bredirect_uri\b/.test(description))
    return `${description}; ${registered(redirects)}`;
  const sent = parameterOf(ctx, "post_logout_redirect_uri");
  if (
    ctx.path === ROUTES.end_session &&
    sent !== undefined &&
    description === "post_logout_redirect_uri not registered"
  )
    return `post_logout_redirect_uri ${cut(sent)} is not registered for client ${client.id}; ${registered(afterLogout)} ${EXACTLY}`;
  return undefined;
}

/** A browser hides a refusal for its origin from the page's script; its network panel shows it, and there this stands. */
export function explainOrigin(ctx: Context): void {
  const { oidc } = ctx as { oidc?: Pick<KoaContextWithOIDC["oidc"], "client"> };
  const body = ctx.body as Partial<Refusal> | undefined;
  const { client } = oidc ?? {};
  const isRefused = /^origin .* not allowed for client: /.test(String(body?.error_description ?? ""));
  if (client === undefined || !isRefused) return;
  const reason = `origin ${cut(ctx.get("origin"))} is not registered for client ${client.clientId}; ${registered(allowedOrigins(client))}`;
  // RFC 6749 section 5.2: printable ASCII without quote and backslash.
  ctx.body = { ...body, error_description: reason.replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "?") };
}

function clientReason(id: string, client: Client | undefined): string {
  if (client?.isDisabled === true) return `client_id ${cut(id)} is disabled. See: signet client enable`;
  return `client_id ${cut(id)} is not registered at this server. See: signet client list`;
}

function registered(values: readonly string[]): string {
  if (values.length === 0) return "none is registered.";
  const more = values.length - REGISTERED_MAX;
  const shown = values.slice(0, REGISTERED_MAX).map(cut).join(", ");
  return `registered ${values.length === 1 ? "is" : "are"} ${shown}${more > 0 ? ` and ${more} more` : ""}.`;
}

function cut(text: string): string {
  if (text === "") return "(empty)";
  return text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX)}…` : text;
}

/** What the request said, also where the library refused before it read its parameters. */
function parameterOf(ctx: KoaContextWithOIDC, name: string): string | undefined {
  const value = ctx.oidc.params?.[name] ?? ctx.query[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}
