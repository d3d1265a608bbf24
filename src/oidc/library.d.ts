/** What the published types of oidc-provider lag behind, and what our adapter adds to a client; nothing else in Signet is cast around them. */
import type { ClientTraits } from "./client-traits.ts";

declare module "oidc-provider" {
  interface RefreshToken {
    /** Called once per token without an id, synchronously; overridden per instance so that a family's successor can be computed. */
    generateTokenId(): string;
  }
  interface Client {
    /** Makes a logout token and sends it; replaced per instance, since our outbox sends. */
    backchannelLogout(sub: string, sid: string | undefined): Promise<void>;
    /** Signet's own settings of the client; present on every client that came through our adapter. */
    readonly signet: ClientTraits;
  }
}
