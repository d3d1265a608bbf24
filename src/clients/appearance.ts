/** How an app is shown to people: its name, and the host and address it registered. Nothing here comes from a request. */
import type { Client } from "./client.ts";

export interface Appearance {
  readonly id: string;
  readonly name: string;
  /** The host that people can compare; for an app on the device the words that its private-use scheme begins with. */
  readonly host: string;
  /** Where a link "back to the app" leads; absent when no web address is registered. */
  readonly url?: string;
}

export function appearanceOf(client: Client): Appearance {
  const { client_uri: clientUri, redirect_uris: redirectUris = [] } = client.metadata;
  const first = redirectUris.find((uri) => URL.canParse(uri));
  const home = clientUri ?? (first !== undefined && /^https?:/.test(first) ? new URL(first).origin : undefined);
  const host =
    home !== undefined && URL.canParse(home)
      ? new URL(home).host
      : first === undefined
        ? ""
        : new URL(first).protocol.slice(0, -1);
  return { id: client.id, name: client.name, host, ...(home === undefined ? {} : { url: home }) };
}
