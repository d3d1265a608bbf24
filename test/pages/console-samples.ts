/** Samples of the console's views, each in every state that changes what it shows. */

import { bars, lineChart } from "../../src/console/chart.ts";

type Locals = Readonly<Record<string, unknown>>;

const frame = {
  here: "/admin/roles",
  title: "Roles",
  lead: "What roles are.",
  crumbs: [{ label: "Roles", href: "/admin/roles" }],
  action: { label: "Create a role", href: "/admin/new-role" },
  second: { label: "Invite somebody", href: "/admin/users/invite" },
  groups: [
    { items: [{ label: "Overview", href: "/admin", isCurrent: false }] },
    { label: "Apps", items: [{ label: "Roles", href: "/admin/roles", isCurrent: true }] },
  ],
  who: { name: "Maya Lindqvist", email: "maya@lindqvist.example" },
};
const console = { frame, csrf: "token" };
const badges = ["good", "info", "warn", "danger", "plain"].map((badge) => ({ text: badge, badge }));
const tile = { id: "notes", name: "Harbor Notes" };
const table = {
  head: ["Name", "Id", "State"],
  rows: [
    [
      { text: "Harbor Notes", href: "/admin/clients/notes", small: "notes", tile },
      { text: "notes", isCode: true },
      badges[0],
    ],
    [{ text: "owner", href: "/admin/roles/owner", isCode: true }, { text: "plain" }, badges[4]],
    [
      { text: "Maya", href: "/admin/users/1", avatar: "Maya Lindqvist" },
      badges,
      { text: "End it", href: "/admin/users/1/end", about: "Firefox", isWhole: true },
    ],
    [
      { text: "owner", href: "/admin/roles/owner", isCode: true },
      { text: "plain" },
      { ...badges[4], act: { label: "Again", href: "/admin/mail/x/retry" } },
    ],
  ],
};
const empty = { title: "Nothing yet", lead: "Make one.", action: { label: "Make one", href: "/admin/new-role" } };
const filters = [
  { name: "query", label: "Name", value: "Harbor", without: "/admin/clients" },
  { name: "state", label: "State", options: [{ value: "sent", label: "Sent" }], value: undefined, without: "/admin" },
];
const list = { filters: [], table, pages: { shown: 2 }, isFiltered: false, all: "/admin/roles", empty };
const fieldOf = (kind: string, more: Locals = {}) => ({ name: `a_${kind}`, kind, label: kind, help: "Help.", ...more });
const options = [
  { value: "a", label: "A", help: "First." },
  { value: "b", label: "B" },
];
const fields = [
  fieldOf("text", { value: "x", heading: "Heading" }),
  fieldOf("number", { value: 3, error: "is no number", isOptional: true }),
  fieldOf("secret"),
  fieldOf("area", { value: "one" }),
  fieldOf("json", { value: "{}" }),
  fieldOf("lines", { value: ["one", "two"] }),
  fieldOf("check", { value: true }),
  fieldOf("choice", { value: "a", options }),
  fieldOf("choices", { value: ["a"], options }),
  fieldOf("radio", { value: "a", options, error: "is none of them" }),
  { ...fieldOf("choices", { value: [], options: [] }), name: "none" },
];
const form = { fields, faults: [], version: "v", submit: "Save", cancel: { label: "Cancel", href: "/admin/roles" } };
const words = { ends: ["It ends."], stays: ["It stays."], typed: "x", submit: "Delete x", cancel: form.cancel };
const fact = { label: "Name", cells: badges };
const acts = [
  { label: "Change", href: "/admin/roles/x/edit", kind: "secondary" },
  { label: "Delete", href: "/admin/roles/x/delete", kind: "danger" },
  { label: "Again", href: "/admin/mail/retry", kind: "secondary", isForm: true },
];

const steps = [
  { label: "Kind", number: 1, state: "done", href: "/admin/clients/new?draft=x" },
  { label: "Access", number: 2, state: "current" },
  { label: "Connect", number: 3, state: "later" },
];
const step = { fields, hidden: [{ name: "draft", value: "x" }], submit: "Continue", cancel: form.cancel };
const lines = [
  { name: "CLIENT_ID", rest: "=notes" },
  { name: "", rest: "plain" },
];
const frameworks = [
  { label: "Express", notes: [], edit: undefined, snippets: [{ help: "Put.", dots: "Dots.", lines }] },
  { label: "Django", notes: ["Change it."], edit: "/admin/clients/notes/edit", snippets: [{ lines }] },
];
const connect = { steps, frameworks, facts: [fact], next: { label: "Go on", href: "/admin/clients/notes" } };

export const consoleSamples: readonly (readonly [string, Locals])[] = [
  ["console/list", { ...console, ...list }],
  ["console/list", { ...console, ...list, table: { head: [], rows: [] } }],
  ["console/list", { ...console, ...list, find: { name: "id", label: "Id", submit: "Find" } }],
  [
    "console/list",
    { ...console, ...list, find: { name: "id", label: "Id", submit: "Find", value: "x", error: "There is none." } },
  ],
  [
    "console/list",
    { ...console, ...list, filters, isFiltered: true, pages: { shown: 2, next: "/admin?cursor=x", first: "/admin" } },
  ],
  ["console/list", { ...console, ...list, filters, isFiltered: true, table: { head: [], rows: [] } }],
  [
    "console/detail",
    { ...console, frame: { ...frame, done: "Done." }, parts: [{ title: "A", help: "B", facts: [fact], acts }] },
  ],
  ["console/detail", { ...console, parts: [{ title: "A", badge: { kind: "good", text: "On" }, table }] }],
  ["console/detail", { ...console, parts: [{ title: "A", empty: "Nothing." }] }],
  ...auditSamples(),
  ...overviewSamples(),
  ["console/form", { ...console, ...form }],
  [
    "console/form",
    {
      ...{ ...console, ...form },
      faults: [
        { field: "a_number", text: "is no number" },
        { text: "Not now." },
        { text: "Sign in again.", href: "/admin/sign-in" },
      ],
    },
  ],
  ["console/client-step", { ...console, ...step, steps, faults: [] }],
  [
    "console/client-step",
    { ...console, ...step, steps: [], faults: [{ field: "a_number", text: "is no number" }, { text: "Not now." }] },
  ],
  ["console/client-connect", { ...console, ...connect, secret: "sgn_cs_1" }],
  ["console/client-connect", { ...console, ...connect, steps: [], facts: [], next: undefined }],
  ["console/client-connect", { ...console, ...connect, frameworks: [], secret: "sgn_cs_1" }],
  ["console/confirm", { ...console, words, version: "v" }],
  [
    "console/confirm",
    { ...console, words: { ...words, isGentle: true }, fault: { text: "Type it.", isOfTyped: true } },
  ],
  ["console/confirm", { ...console, words: { ...words, typed: undefined }, fault: { text: "Not now." } }],
];

function auditSamples(): readonly (readonly [string, Locals])[] {
  const entry = {
    ...{
      time: "10:00:01",
      action: "client.updated",
      actor: "user 1234",
      subject: "client notes",
      address: "192.0.2.1",
    },
    facts: [fact],
    changes: [
      { field: "client_name", before: "A", after: "B" },
      { field: "scope", after: "openid" },
    ],
  };
  const days = [{ label: "24 November 2026", entries: [entry, { ...entry, subject: "", changes: [] }] }];
  const proof = { isIntact: true, words: "It holds." };
  const page = {
    ...console,
    filters,
    isFiltered: false,
    all: "/admin/audit",
    proof,
    exportHref: "/admin/audit/export",
  };
  const pages = { shown: 2, next: "/admin/audit?cursor=x" };
  return [
    ["console/audit", { ...page, days, pages }],
    ["console/audit", { ...page, days: [], pages, proof: { isIntact: false, words: "It does not." } }],
    ["console/audit", { ...page, days: [], pages, isFiltered: true }],
  ];
}

function overviewSamples(): readonly (readonly [string, Locals])[] {
  const lines = [
    { kind: 1, values: [3, 9, 1], last: "1 signed in" },
    { kind: 2, values: [0, 1, 1], last: "1 refused" },
  ] as const;
  const steps = ["1 Nov", "2 Nov", "3 Nov"];
  const drawn = (width: 540 | 308) => lineChart(lines, { width, steps, number: String });
  const charts = { label: "Sign-ins per day.", wide: drawn(540), narrow: drawn(308), table };
  const finding = {
    badge: "danger",
    severity: "Serious",
    what: "A thing",
    why: "It is bad.",
    act: "Mend it",
    href: "/admin",
  };
  const ledger = [{ label: "Sign-ins", value: "1,284", words: "12% more" }];
  const refused = bars([{ label: "redirect_path", href: "/admin/failures", count: 3 }]);
  const first = [{ title: "Register an app", help: "So that people sign in.", href: "/admin/clients/new" }];
  return [
    ["console/overview", { ...console, ledger, charts, refused, findings: [finding], keys: table }],
    ["console/overview", { ...console, ledger, charts, refused: [], findings: [], keys: table }],
    ["console/overview", { ...console, first }],
  ];
}
