/** Cursors: where a page ended, in a text that only this server can make, for this one list with these filters, for an hour. */
import { nowSeconds } from "../clock.ts";
import { AppError } from "../errors.ts";
import { hmac, isEqualSecret } from "../secrets.ts";
import type { Position } from "./operation.ts";

/** Shorter than the overlap of the keys it is made with, so that a rotation refuses none that lives. */
const CURSOR_SECONDS = 3600;
/** The longest is that of a name of 200 characters of four bytes each, in base64 twice. */
const CURSOR = /^([A-Za-z0-9_-]{1,1900})\.([A-Za-z0-9_-]{43})$/;
/** The keys of forms are the parents of those of cursors, which so serve nothing else. */
const LABEL = "rest cursor";

export interface Cursors {
  issue(list: string, position: Position): string;
  /** Throws AppError cursor_invalid for one that was not issued for this very list, or too long ago. */
  read(list: string, cursor: string): Position;
}

export function createCursors(parentKeys: () => readonly Buffer[]): Cursors {
  const keys = (): readonly Buffer[] => parentKeys().map((key) => Buffer.from(hmac(key, LABEL), "base64url"));
  return {
    issue(list, position) {
      const [key] = keys();
      if (key === undefined) throw new Error("there is no key for cursors");
      const stated = Buffer.from(JSON.stringify([nowSeconds() + CURSOR_SECONDS, ...position])).toString("base64url");
      return `${stated}.${mac(key, list, stated)}`;
    },
    read(list, cursor) {
      const [, stated, given] = CURSOR.exec(cursor) ?? [];
      const isOurs =
        stated !== undefined &&
        given !== undefined &&
        keys().some((key) => isEqualSecret(mac(key, list, stated), given));
      if (!isOurs) throw new AppError("cursor_invalid");
      const [until, ...position] = JSON.parse(Buffer.from(stated, "base64url").toString()) as [number, ...Position];
      if (until < nowSeconds()) throw new AppError("cursor_invalid", "It has expired.");
      return position;
    },
  };
}

function mac(key: Buffer, list: string, stated: string): string {
  return hmac(key, `${list}\n${stated}`);
}
