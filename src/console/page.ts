/** A page of the console: which operations it does, who may see it, and how it is shown. The console holds no power that the REST API lacks: all it can do is ask an operation. */
import type { Context } from "koa";
import { sleep } from "../clock.ts";
import { AppError } from "../errors.ts";
import { type Form, type Repeatable, readForm } from "../http/body.ts";
import { isSameOriginPost } from "../pages/csrf.ts";
import { languageLinks, languageOf } from "../pages/language.ts";
import type { Catalogues, Texts } from "../pages/texts.ts";
import type { Views } from "../pages/views.ts";
import { checkScope } from "../rest/gate.ts";
import type { IdempotentRequests } from "../rest/idempotency.ts";
import type { AdminScope, Operation } from "../rest/operation.ts";
import { etagOf, type Performed, type PerformParts, prepare } from "../rest/perform.ts";
import { navigationOf, type Section } from "./navigation.ts";
import type { SetupParts } from "./setup.ts";
import { type Admin, adminOrAsk, isFresh, redirect, type SignInParts, signInAgain } from "./sign-in.ts";

export interface ConsoleParts extends SignInParts, SetupParts {
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly operations: readonly Operation[];
  readonly perform: PerformParts & { readonly idempotent: IdempotentRequests };
  readonly isDevelopment: boolean;
  signOut(ctx: Context, admin: Admin): Promise<void>;
}

/** One address. What a page asks without naming it here is refused, so this list is what the console can do. */
export interface ConsolePage {
  /** With the REST API's names for what varies: `/admin/clients/:client_id`. */
  readonly path: string;
  readonly section: Section;
  /** The operations that the page reads with; whoever lacks the scope of the first one does not see it. */
  readonly shows: readonly string[];
  /** Whoever is in the console sees it; what they may not read is left out of it. */
  readonly isForAll?: boolean;
  /** The operations that its form does. */
  readonly does?: readonly string[];
  /** Asks for the password again unless that was a few minutes ago. */
  readonly isDangerous?: boolean;
  /** Fields that may stand more than once: checkboxes of one name. */
  readonly repeats?: Repeatable;
  /** Of its form, when that is longer than forms are. */
  readonly bodyBytesMax?: number;
  show(visit: Visit): Promise<void>;
  submit?(visit: Visit, form: Form): Promise<void>;
  /** In place of `submit`, when a dangerous form comes too long after the sign-in: keeps what was typed. Absent: the page begins anew. */
  late?(visit: Visit, form: Form): Promise<void>;
}

export interface Asked {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  /** The version that the form was shown with; empty or absent: any. */
  readonly ifMatch?: string;
  /** The Idempotency-Key of the form: sent twice, or the answer loaded again, it is done once and answered alike. */
  readonly once?: string;
}

/** A JSON object off the wire of the REST API. */
export type Thing = Readonly<Record<string, unknown>>;

export interface Answer {
  /** Empty when the operation has nothing to say. */
  readonly body: Thing;
  readonly etag: string;
}

export interface List {
  readonly data: readonly Thing[];
  readonly next: string | undefined;
}

export interface Frame {
  readonly status?: number;
  readonly title: string;
  readonly lead?: string;
  /** From the section down to this page, the page itself left out. */
  readonly crumbs?: readonly { readonly label: string; readonly href: string }[];
  readonly action?: { readonly label: string; readonly href: string } | undefined;
  /** Another way on, beside the action. */
  readonly second?: { readonly label: string; readonly href: string } | undefined;
}

/** One request to a page. */
export interface Visit {
  readonly ctx: Context;
  readonly texts: Texts;
  readonly admin: Admin;
  readonly params: Readonly<Record<string, string>>;
  readonly issuer: string;
  readonly isDevelopment: boolean;
  /** The form token of this visit. */
  readonly csrf: string;
  may(scope: AdminScope): boolean;
  /** The same at this moment, for an answer that takes its time: false also when the session has ended since it began. */
  mayStill(scope: AdminScope): Promise<boolean>;
  /** The one value of a parameter of the address. */
  parameter(name: string): string | undefined;
  /** Does an operation of the REST API as this administrator, with all its checks. `params` are those of the address unless given. */
  ask(id: string, asked?: Asked): Promise<Answer>;
  list(id: string, asked?: Asked): Promise<List>;
  /** A page of an operation whose answer is JSON lines, as it is written to a file. */
  lines(id: string, asked?: Asked): Promise<{ readonly text: string; readonly next: string | undefined }>;
  show(view: string, frame: Frame, locals?: Readonly<Record<string, unknown>>): void;
  /** To another page, which then says what was done: a key below `console.done`. */
  go(path: string, done?: string): void;
}

/** No parameter of a page is longer: the draft of a registration is the longest. */
const QUERY_CHARS_MAX = 6000;

const ONCE_MS = 200;
const ONCE_ATTEMPTS_MAX = 15;

/** Answers a request to the page. */
export async function visitPage(ctx: Context, page: ConsolePage, parts: ConsoleParts): Promise<void> {
  const admin = await adminOrAsk(ctx, parts);
  if (admin === undefined) return;
  const form = ctx.method === "POST" ? await readConsoleForm(ctx, page, parts, admin) : undefined;
  const isLate = page.isDangerous === true && !isFresh(admin);
  const late = form === undefined ? undefined : page.late;
  if (isLate && late === undefined) return redirect(ctx, signInAgain(ctx));
  const visit = visitOf(ctx, page, parts, admin);
  const [first] = page.shows;
  if (first !== undefined && page.isForAll !== true) checkScope(admin.caller, operationOf(parts, first));
  if (form === undefined) return page.show(visit);
  if (page.submit === undefined) throw new AppError("method_not_allowed");
  return isLate && late !== undefined ? late(visit, form) : page.submit(visit, form);
}

/** A form of the console, sent from our own page by this very session. Throws AppError form_foreign. */
export async function readConsoleForm(
  ctx: Context,
  page: Pick<ConsolePage, "repeats" | "bodyBytesMax">,
  { csrf, issuer }: Pick<ConsoleParts, "csrf" | "issuer">,
  admin: Admin,
): Promise<Form> {
  const form = await readForm(ctx, page.repeats ?? [], page.bodyBytesMax);
  const headers = { origin: ctx.get("origin") || undefined, "sec-fetch-site": ctx.get("sec-fetch-site") || undefined };
  if (!isSameOriginPost(headers, issuer) || !csrf.verify(formBinding(admin), form.field("csrf")))
    throw new AppError("form_foreign");
  return form;
}

function visitOf(ctx: Context, page: ConsolePage, parts: ConsoleParts, admin: Admin): Visit {
  const texts = languageOf(ctx, parts.catalogues, admin.user.language ?? admin.user.claims.locale);
  const params = (ctx as Context & { params?: Record<string, string> }).params ?? {};
  const allowed = new Set([...page.shows, ...(page.does ?? [])]);
  const csrf = parts.csrf.issue(formBinding(admin));
  const perform = async (id: string, asked: Asked): Promise<Performed> => {
    // What the table does not name cannot be done: the table is then what a reader may believe.
    if (!allowed.has(id)) throw new Error(`${page.path} does not name the operation ${id}`);
    const given = Object.entries(asked.query ?? {}).filter(([, value]) => value !== undefined);
    const at = asked.params ?? params;
    const work = await prepare(parts.perform, operationOf(parts, id), {
      params: at,
      query: Object.fromEntries(given),
      body: asked.body,
      caller: admin.caller,
      by: admin.by,
      ifMatch: asked.ifMatch ?? "",
    });
    const { once: key } = asked;
    if (key === undefined) return work();
    const target = `console ${id} ${JSON.stringify(at)}`;
    const request = { caller: `user:${admin.user.id}`, target, key, body: JSON.stringify(asked.body ?? {}) };
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await parts.perform.idempotent.once(request, work);
      } catch (error) {
        // The second press of a button gets the answer of the first, which is all that the browser will show.
        const isRunning = error instanceof AppError && error.code === "idempotency_running";
        if (!isRunning || attempt === ONCE_ATTEMPTS_MAX) throw error;
        await sleep(ONCE_MS);
      }
    }
  };
  const visit: Visit = {
    ...{ ctx, texts, admin, params, csrf, issuer: parts.issuer, isDevelopment: parts.isDevelopment },
    may: (scope) => admin.caller.scopes.has(scope),
    async mayStill(scope) {
      const signedIn = await parts.browser.signedIn(ctx);
      if (signedIn?.sessionUid !== admin.sessionUid) return false;
      return (await parts.rightsOf({ kind: "user", id: admin.user.id })).includes(scope);
    },
    parameter(name) {
      const value = ctx.query[name];
      return typeof value === "string" && value !== "" && value.length <= QUERY_CHARS_MAX && !value.includes("\0")
        ? value
        : undefined;
    },
    async ask(id, asked = {}) {
      const { body } = await perform(id, asked);
      return { body: body === "" ? {} : (JSON.parse(body) as Thing), etag: etagOf(body) };
    },
    async list(id, asked) {
      const { body } = await visit.ask(id, asked);
      const next = body["next_cursor"];
      return { data: body["data"] as readonly Thing[], next: typeof next === "string" ? next : undefined };
    },
    async lines(id, asked = {}) {
      const { body, nextCursor } = await perform(id, asked);
      return { text: body, next: nextCursor };
    },
    show: (view, frame, locals = {}) => showPage(visit, parts, page, { view, frame, locals }),
    go: (path, done) => redirect(ctx, done === undefined ? path : `${path}?done=${done}`),
  };
  return visit;
}

function showPage(
  visit: Visit,
  parts: ConsoleParts,
  page: ConsolePage,
  what: { readonly view: string; readonly frame: Frame; readonly locals: Readonly<Record<string, unknown>> },
): void {
  const { ctx, texts, admin, csrf } = visit;
  const { status = 200, ...frame } = what.frame;
  const done = visit.parameter("done");
  const key = `console.done.${done}`;
  parts.views.show(ctx, texts, {
    status,
    view: what.view,
    locals: {
      frame: {
        ...frame,
        here: ctx.path,
        crumbs: frame.crumbs ?? [],
        groups: navigationOf(page.section, { scopes: admin.caller.scopes, texts }),
        who: { name: admin.user.claims.name, email: admin.user.email },
        done: done !== undefined && /^[a-z_]{1,40}$/.test(done) && texts.has(key) ? texts.t(key) : undefined,
      },
      csrf,
      languages: languageLinks(ctx, parts.catalogues, texts),
      ...what.locals,
    },
  });
}

function operationOf({ operations }: Pick<ConsoleParts, "operations">, id: string): Operation {
  const operation = operations.find((candidate) => candidate.id === id);
  if (operation === undefined) throw new Error(`there is no operation ${id}`);
  return operation;
}

function formBinding({ sessionUid }: Admin): string {
  return `admin:${sessionUid}`;
}
