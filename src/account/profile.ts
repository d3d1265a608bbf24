/** The profile: what apps that may see it are told of a person, and the language of pages and mails. */
import type Router from "@koa/router";
import type { Context } from "koa";
import { AppError } from "../errors.ts";
import type { SignedIn } from "../oidc/signed-in.ts";
import { parseUserChange } from "../users/schema.ts";
import {
  type AccountParts,
  accountToken,
  actorIn,
  readAccountForm,
  redirect,
  showPage,
  signedInOrAsk,
} from "./page.ts";

/** What people may say of themselves; address, verification, roles and the like are no fields of this form (T-REG-7). */
const FIELDS = [
  "name",
  "given_name",
  "family_name",
  "nickname",
  "website",
  "birthdate",
  "zoneinfo",
  "phone_number",
] as const;

export function profileRoutes(router: Router, parts: AccountParts): void {
  router.get("/account/profile", async (ctx) => {
    const signedIn = await signedInOrAsk(ctx, parts, "profile");
    if (signedIn !== undefined) show(ctx, parts, signedIn, {});
  });
  router.post("/account/profile", async (ctx) => {
    const signedIn = await signedInOrAsk(ctx, parts, "profile");
    if (signedIn !== undefined) await save(ctx, parts, signedIn);
  });
  router.post("/account/language", async (ctx) => {
    const signedIn = await signedInOrAsk(ctx, parts, "home");
    if (signedIn === undefined) return;
    const form = await readAccountForm(ctx, parts, signedIn);
    const language = form.field("language") ?? "";
    if (!parts.catalogues.languages.includes(language)) throw new AppError("request_malformed");
    await parts.saveLanguage(signedIn.user.id, language);
    redirect(ctx, `/account?ui_locales=${language}`);
  });
}

async function save(ctx: Context, parts: AccountParts, signedIn: SignedIn): Promise<void> {
  const form = await readAccountForm(ctx, parts, signedIn);
  const typed = Object.fromEntries(FIELDS.map((name) => [name, (form.field(name) ?? "").trim()]));
  const change = Object.fromEntries(FIELDS.map((name) => [name, typed[name] === "" ? null : typed[name]]));
  try {
    await parts.users.update(signedIn.user.id, parseUserChange(change), actorIn(ctx, signedIn));
  } catch (error) {
    if (!(error instanceof AppError && error.code === "user_invalid")) throw error;
    // The schema names each field before what is wrong with it.
    const faulty = FIELDS.filter((name) => new RegExp(`(^|[^a-z_])${name}: `).test(error.detail ?? ""));
    return show(ctx, parts, signedIn, { typed, faulty });
  }
  redirect(ctx, "/account?done=profile");
}

function show(
  ctx: Context,
  parts: AccountParts,
  signedIn: SignedIn,
  page: { typed?: Readonly<Record<string, string | undefined>>; faulty?: readonly string[] },
): void {
  const { claims } = signedIn.user;
  const values = page.typed ?? Object.fromEntries(FIELDS.map((name) => [name, claims[name]]));
  const faulty = page.faulty ?? [];
  showPage(
    ctx,
    parts,
    {
      status: faulty.length === 0 ? 200 : 400,
      view: "account/profile",
      locals: {
        csrf: accountToken(parts, signedIn),
        fields: FIELDS.map((name) => ({ name, value: values[name], isFaulty: faulty.includes(name) })),
      },
    },
    signedIn,
  );
}
