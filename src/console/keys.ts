/** Console: the signing keys, each with its next step; rotating them, and taking one out in an emergency. */
import { AppError } from "../errors.ts";
import { confirmPage, formPage, textOf } from "./form.ts";
import type { Answer, ConsolePage, Thing, Visit } from "./page.ts";
import { type Cell, moment, type Table } from "./table.ts";

const SECTION = "keys";
const KEYS = "/admin/keys";

type Badge = NonNullable<Cell["badge"]>;
/** What a state is called, and when the next step comes by itself. */
const STATES: Readonly<Record<string, { badge: Badge; word: string; next: string; at: string }>> = {
  announced: { badge: "info", word: "console.keys.announced", next: "console.keys.signs_at", at: "activates_at" },
  active: { badge: "good", word: "console.keys.active", next: "console.keys.retires_at", at: "retires_at" },
  retired: { badge: "plain", word: "console.keys.retired", next: "console.keys.unpublishes_at", at: "unpublishes_at" },
  kept: { badge: "plain", word: "console.keys.kept", next: "console.keys.removes_at", at: "removes_at" },
  revoked: { badge: "danger", word: "console.keys.revoked", next: "console.keys.revoked_at", at: "revoked_at" },
};

export const keyPages: readonly ConsolePage[] = [
  {
    path: KEYS,
    section: SECTION,
    shows: ["listKeys"],
    async show(visit) {
      const { texts, may } = visit;
      const { body } = await visit.ask("listKeys");
      const action = may("keys:write") ? { label: texts.t("console.keys.rotate"), href: `${KEYS}/rotate` } : undefined;
      visit.show(
        "console/detail",
        { title: texts.t("console.nav.keys"), lead: texts.t("console.keys.lead"), action },
        {
          parts: [
            {
              title: texts.t("console.keys.signing"),
              help: texts.t("console.keys.signing_help"),
              table: signingTable(body, visit, { mayRevoke: may("keys:write") }),
              empty: texts.t("console.keys.none"),
            },
            {
              title: texts.t("console.keys.random"),
              help: texts.t("console.keys.random_help"),
              table: randomTable(body, visit),
              empty: texts.t("console.keys.none"),
            },
          ],
        },
      );
    },
  },
  formPage({
    path: `${KEYS}/rotate`,
    section: SECTION,
    shows: ["listKeys"],
    operation: "rotateKeys",
    isDangerous: true,
    repeats: ["algorithms"],
    async model(visit) {
      const { texts } = visit;
      const { body } = await visit.ask("listKeys");
      const rotation = body["rotation"] as readonly Thing[];
      return {
        title: texts.t("console.keys.rotate_title"),
        lead: texts.t("console.keys.rotate_lead"),
        crumbs: crumbs(visit),
        fields: [
          {
            ...{ name: "algorithms", kind: "choices", label: texts.t("console.keys.algorithms") },
            help: texts.t("console.keys.algorithms_help"),
            options: rotation.map((one) => ({
              value: textOf(one, "algorithm"),
              label: textOf(one, "algorithm"),
              help: texts.t("console.keys.next_by_itself", { at: moment(visit, one["next_rotation_at"]) || "–" }),
            })),
            value: rotation.map((one) => textOf(one, "algorithm")),
          },
        ],
        submit: texts.t("console.keys.rotate"),
        cancel: { label: texts.t("console.cancel"), href: KEYS },
      };
    },
    done: (visit) => visit.go(KEYS, "keys_rotated"),
  }),
  confirmPage({
    path: `${KEYS}/:kid/revoke`,
    section: SECTION,
    shows: ["listKeys"],
    operation: "revokeKey",
    async model(visit) {
      const { texts, params } = visit;
      const { body } = await visit.ask("listKeys");
      const key = (body["signing_keys"] as readonly Thing[]).find((one) => one["kid"] === params["kid"]);
      if (key === undefined || key["state"] === "revoked") throw new AppError("key_unknown");
      const minutes = Math.ceil(Number(body["believed_seconds"]) / 60);
      const isActive = key["state"] === "active";
      return {
        title: texts.t("console.keys.revoke_title", { kid: textOf(key, "kid") }),
        lead: texts.t("console.keys.revoke_lead"),
        crumbs: crumbs(visit),
        ends: [diesOf(key, visit), texts.t("console.keys.believed", { minutes })],
        stays: [
          texts.t(isActive ? "console.keys.successor_signs" : "console.keys.others_sign"),
          texts.t("console.keys.opaque_stays"),
        ],
        typed: textOf(key, "kid"),
        submit: texts.t("console.keys.revoke"),
        cancel: { label: texts.t("console.keep"), href: KEYS },
      };
    },
    done: showRevoked,
  }),
];

/** Which tokens die with the key. */
function diesOf(key: Thing, visit: Visit): string {
  const from = key["activated_at"];
  if (from === undefined) return visit.texts.t("console.keys.dies_unused");
  const until = key["retired_at"];
  const since = moment(visit, from);
  if (until === undefined) return visit.texts.t("console.keys.dies_since", { from: since });
  return visit.texts.t("console.keys.dies_between", { from: since, until: moment(visit, until) });
}

/** What has to be told to those who run resource servers stands on the page that answers, since it is nowhere else. */
function showRevoked(visit: Visit, { body }: Answer): void {
  const { texts } = visit;
  const text = (label: string, value: string, isCode = false) => ({ label, cells: [{ text: value, isCode }] });
  const optional = (label: string, name: string) =>
    body[name] === undefined ? [] : [text(label, moment(visit, body[name]))];
  visit.show(
    "console/detail",
    { title: texts.t("console.keys.is_revoked"), lead: texts.t("console.keys.is_revoked_lead"), crumbs: crumbs(visit) },
    {
      parts: [
        {
          title: texts.t("console.keys.what_follows"),
          facts: [
            text(texts.t("console.keys.key"), textOf(body, "kid"), true),
            text(texts.t("console.keys.algorithm"), textOf(body, "algorithm")),
            ...optional(texts.t("console.keys.signed_from"), "signed_from"),
            ...optional(texts.t("console.keys.signed_until"), "signed_until"),
            ...optional(texts.t("console.keys.believed_until"), "believed_until"),
            ...(body["successor"] === undefined
              ? []
              : [text(texts.t("console.keys.successor"), textOf(body, "successor"), true)]),
            ...optional(texts.t("console.keys.refused_until"), "refused_until"),
          ],
          acts: [{ label: texts.t("console.keys.back"), href: KEYS, kind: "secondary" }],
        },
      ],
    },
  );
}

/** The keys with what comes next; the overview shows the same. */
export function signingTable(body: Thing, visit: Visit, { mayRevoke }: { readonly mayRevoke: boolean }): Table {
  const { texts } = visit;
  const rotation = body["rotation"] as readonly Thing[];
  const head = [
    texts.t("console.keys.key"),
    texts.t("console.keys.since"),
    texts.t("console.keys.state"),
    texts.t("console.keys.next"),
    ...(mayRevoke ? [texts.t("console.keys.emergency")] : []),
  ];
  const rows = (body["signing_keys"] as readonly Thing[]).map((key): readonly Cell[] => {
    const { badge, word, next } = STATES[textOf(key, "state")] ?? { badge: "plain" as const, word: "", next: "" };
    const at = moment(visit, nextStepOf(key, rotation));
    const revoke: Cell =
      key["state"] === "revoked"
        ? { text: "–" }
        : { text: texts.t("console.keys.revoke"), href: `${KEYS}/${encodeURIComponent(textOf(key, "kid"))}/revoke` };
    return [
      { text: textOf(key, "algorithm"), small: textOf(key, "kid") },
      { text: moment(visit, key["activated_at"] ?? key["created_at"]) },
      { text: word === "" ? textOf(key, "state") : texts.t(word), badge },
      { text: at === "" || next === "" ? "–" : texts.t(next, { at }) },
      ...(mayRevoke ? [revoke] : []),
    ];
  });
  return { head, rows };
}

function nextStepOf(key: Thing, rotation: readonly Thing[]): unknown {
  const { at = "" } = STATES[textOf(key, "state")] ?? {};
  if (at !== "retires_at") return key[at];
  return rotation.find((one) => one["algorithm"] === key["algorithm"])?.["next_rotation_at"];
}

function randomTable(body: Thing, visit: Visit): Table {
  const { texts } = visit;
  const rows = (body["random_keys"] as readonly Thing[]).map((key): readonly Cell[] => {
    const { badge, word } = STATES[textOf(key, "state")] ?? { badge: "plain" as const, word: "" };
    return [
      { text: textOf(key, "purpose"), isCode: true },
      { text: textOf(key, "version") },
      { text: moment(visit, key["created_at"]) },
      { text: word === "" ? textOf(key, "state") : texts.t(word), badge },
    ];
  });
  return {
    head: [
      texts.t("console.keys.purpose"),
      texts.t("console.keys.version"),
      texts.t("console.keys.since"),
      texts.t("console.keys.state"),
    ],
    rows,
  };
}

function crumbs({ texts }: Visit) {
  return [{ label: texts.t("console.nav.keys"), href: KEYS }];
}
