/** Console: a client is registered step by step. What was typed travels in the address of the next step, so nothing is kept here and each step survives a reload. */
import { choicesOf, resolveClient } from "../clients/metadata.ts";
import { redirectUriFault, webOriginFault } from "../clients/redirect-uri.ts";
import { CLIENT_TYPES, parseClientInput } from "../clients/schema.ts";
import type { AppError } from "../errors.ts";
import type { Form } from "../http/body.ts";
import { OPENID_SCOPES } from "../scopes.ts";
import { randomText } from "../secrets.ts";
import { quoted } from "../text.ts";
import { apiFields, apisOf, listAllApis, ownApiField, REPEATS, withoutApiFields } from "./client-access.ts";
import { showConnect } from "./client-connect.ts";
import { type Draft, isTooLong, readDraft, writeDraft } from "./client-draft.ts";
import { CLIENTS, clientCrumbs, KINDS, NEW_CLIENT } from "./clients.ts";
import { type Field, faultsFor, readFields, type ShownFault, shownAgain } from "./form.ts";
import type { ConsolePage, Visit } from "./page.ts";

type StepName = "kind" | "addresses" | "access" | "connect";

const ADDRESSES = `${NEW_CLIENT}/addresses`;
const ACCESS = `${NEW_CLIENT}/access`;

export const wizardPages: readonly ConsolePage[] = [
  {
    path: NEW_CLIENT,
    section: "clients",
    shows: ["createClient"],
    async show(visit) {
      showStep(visit, {
        step: "kind",
        draft: readDraft(visit.parameter("draft")),
        fields: kindFields(visit, readDraft(visit.parameter("draft"))),
      });
    },
    async submit(visit, form) {
      const fields = kindFields(visit, undefined);
      const before = readDraft(form.field("draft"));
      const draft = { ...before, ...readFields(form, fields, false) };
      try {
        const { client_type: type, client_name: name } = parseClientInput(draft);
        // Addresses of another kind are other addresses.
        const kept = before?.client_type === type ? before : {};
        goOn(visit, { ...kept, client_type: type, client_name: name });
      } catch (error) {
        showAgain(visit, form, { step: "kind", draft: before, fields, faults: faultsFor(error, fields, visit.texts) });
      }
    },
  },
  {
    path: ADDRESSES,
    section: "clients",
    shows: ["createClient"],
    async show(visit) {
      const draft = readDraft(visit.parameter("draft"));
      if (draft === undefined) return visit.go(NEW_CLIENT);
      showStep(visit, { step: "addresses", draft, fields: addressFields(visit, draft) });
    },
    async submit(visit, form) {
      const before = readDraft(form.field("draft"));
      if (before === undefined) return visit.go(NEW_CLIENT);
      const fields = addressFields(visit, before);
      const draft = withoutEmpty({ ...before, ...readFields(form, fields, false) } as Draft);
      const faults = addressFaults(visit, draft, fields);
      if (faults.length > 0) return showAgain(visit, form, { step: "addresses", draft: before, fields, faults });
      visit.go(`${ACCESS}?draft=${writeDraft(draft)}`);
    },
  },
  {
    path: ACCESS,
    section: "clients",
    shows: ["createClient", "listApis"],
    does: ["createClient"],
    repeats: REPEATS,
    async show(visit) {
      const draft = readDraft(visit.parameter("draft"));
      if (draft === undefined) return visit.go(NEW_CLIENT);
      showStep(visit, { step: "access", draft, fields: await accessFields(visit, draft) });
    },
    submit: register,
  },
];

/** The last step: the client is made once, however often the form is sent or the answer is loaded again. */
async function register(visit: Visit, form: Form): Promise<void> {
  const draft = readDraft(form.field("draft"));
  if (draft === undefined) return visit.go(NEW_CLIENT);
  const fields = await accessFields(visit, draft);
  try {
    const body = readFields(form, fields, false);
    const once = form.field("once") ?? "";
    const { body: client } = await visit.ask("createClient", { once, body: await clientBody(visit, draft, body) });
    showConnect(visit, client, stepsOf(visit, "connect", draft));
  } catch (error) {
    const faults = faultsFor(error, [...fields, ...addressFields(visit, draft)], visit.texts);
    showAgain(visit, form, { step: "access", draft, fields, faults, status: (error as AppError).status });
  }
}

async function clientBody(visit: Visit, draft: Draft, body: Readonly<Record<string, unknown>>) {
  const { offline_access: isOffline, ...rest } = withoutApiFields(body);
  const apis = await listAllApis(visit);
  const scopes = OPENID_SCOPES.filter((scope) => scope !== "offline_access" || isOffline === true);
  return {
    ...draft,
    ...rest,
    ...(choicesOf(draft.client_type).hasPeople ? { scope: scopes.join(" ") } : {}),
    apis:
      draft.client_type === "resource-server"
        ? [{ identifier: String(body["apis"] ?? "") }]
        : apisOf(body, { apis, held: [], isNew: true }),
  };
}

function kindFields({ texts }: Visit, draft: Draft | undefined): readonly Field[] {
  return [
    {
      ...{ name: "client_name", kind: "text", label: texts.t("console.clients.name"), value: draft?.client_name },
      help: texts.t("console.clients.name_help"),
    },
    {
      ...{ name: "client_type", kind: "radio", label: texts.t("console.clients.kind") },
      options: CLIENT_TYPES.map((value) => ({
        value,
        label: texts.t(KINDS[value].label),
        help: texts.t(KINDS[value].help),
      })),
      value: draft?.client_type ?? "web",
    },
  ];
}

function addressFields({ texts }: Visit, draft: Draft): readonly Field[] {
  const { client_type: type } = draft;
  const help = type === "native" ? "console.clients.redirects_native_help" : "console.clients.redirects_help";
  const origins: Field = {
    ...{ name: "web_origins", kind: "lines", label: texts.t("console.clients.origins"), isOptional: true },
    help: texts.t(type === "spa" ? "console.clients.origins_spa_help" : "console.clients.origins_help"),
    value: draft.web_origins,
  };
  return [
    {
      ...{ name: "redirect_uris", kind: "lines", label: texts.t("console.clients.redirects") },
      ...{ help: texts.t(help), value: draft.redirect_uris },
    },
    {
      ...{ name: "post_logout_redirect_uris", kind: "lines", label: texts.t("console.clients.after_logout") },
      ...{ help: texts.t("console.clients.after_logout_help"), value: draft.post_logout_redirect_uris },
      isOptional: true,
    },
    // A native app is no page of any origin.
    ...(type === "native" ? [] : [origins]),
  ];
}

async function accessFields(visit: Visit, draft: Draft): Promise<readonly Field[]> {
  const { texts } = visit;
  const apis = await listAllApis(visit);
  if (draft.client_type === "resource-server") return [ownApiField(visit, apis, [])];
  const people: readonly Field[] = choicesOf(draft.client_type).hasPeople
    ? [
        {
          ...{ name: "first_party", kind: "check", label: texts.t("console.clients.first_party"), value: false },
          help: texts.t("console.clients.first_party_help"),
        },
        {
          ...{ name: "offline_access", kind: "check", label: texts.t("console.clients.offline"), value: true },
          help: texts.t("console.clients.offline_help"),
        },
      ]
    : [];
  return [...people, ...apiFields(visit, apis, [])];
}

/** Every address with its reason, by the rules of the registration itself. */
function addressFaults(visit: Visit, draft: Draft, fields: readonly Field[]): readonly ShownFault[] {
  const { isDevelopment } = visit;
  const isNative = draft.client_type === "native";
  const fault = {
    redirect_uris: (uri: string) => redirectUriFault(uri, { isDevelopment, isNative }),
    post_logout_redirect_uris: (uri: string) => redirectUriFault(uri, { isDevelopment, isNative }),
    web_origins: (origin: string) => webOriginFault(origin, { isDevelopment }),
  };
  const faults = Object.entries(fault).flatMap(([name, check]) => {
    const uris = draft[name as keyof typeof fault] ?? [];
    const reasons = uris.flatMap((uri) => {
      const reason = check(uri);
      return reason === undefined ? [] : [`${quoted(uri)} ${reason}.`];
    });
    return reasons.length === 0 ? [] : [{ field: name, text: reasons.join(" ") }];
  });
  if (faults.length > 0) return faults;
  if (isTooLong(draft)) return [{ field: "redirect_uris", text: visit.texts.t("console.clients.too_many") }];
  try {
    resolveClient(parseClientInput(draft), { isDevelopment });
    return [];
  } catch (error) {
    return faultsFor(error, fields, visit.texts);
  }
}

/** No address is none that was said: a browser app then has the origins of its redirects. */
function withoutEmpty(draft: Draft): Draft {
  const said = Object.entries(draft).filter(([, value]) => !Array.isArray(value) || value.length > 0);
  return Object.fromEntries(said) as Draft;
}

function goOn(visit: Visit, draft: Draft): void {
  const next = choicesOf(draft.client_type).hasPeople ? ADDRESSES : ACCESS;
  visit.go(`${next}?draft=${writeDraft(draft)}`);
}

interface Step {
  readonly step: StepName;
  readonly draft: Draft | undefined;
  readonly fields: readonly Field[];
  readonly faults?: readonly ShownFault[];
  readonly status?: number;
}

function showAgain(visit: Visit, form: Form, shown: Step): void {
  const fields = shown.fields.map((field) => ({ ...field, value: shownAgain(form, field) }));
  showStep(visit, { status: 400, ...shown, fields });
}

function showStep(visit: Visit, { step, draft, fields, faults = [], status = 200 }: Step): void {
  const { texts } = visit;
  visit.show(
    "console/client-step",
    {
      title: texts.t("console.clients.register"),
      lead: texts.t(LEADS[step]),
      crumbs: clientCrumbs(visit),
      status,
    },
    {
      steps: stepsOf(visit, step, draft),
      fields: fields.map((field) => ({ ...field, error: faults.find(({ field: of }) => of === field.name)?.text })),
      faults,
      hidden: [
        { name: "draft", value: draft === undefined ? "" : writeDraft(draft) },
        ...(step === "access" ? [{ name: "once", value: randomText() }] : []),
      ],
      submit: texts.t(step === "access" ? "console.clients.register" : "console.clients.go_on"),
      cancel: { label: texts.t("console.cancel"), href: CLIENTS },
      // In another language the address would be another one, without what was typed.
      languages: [],
    },
  );
}

const LEADS = {
  kind: "console.clients.step_kind_lead",
  addresses: "console.clients.step_addresses_lead",
  access: "console.clients.step_access_lead",
  connect: "console.clients.step_connect",
} as const;

/** The four bars; what is done leads back, until the client is there. */
function stepsOf({ texts }: Visit, current: StepName, draft: Draft | undefined) {
  const hasPeople = draft === undefined || choicesOf(draft.client_type).hasPeople;
  const all = [
    { step: "kind", label: texts.t("console.clients.step_kind"), href: NEW_CLIENT },
    ...(hasPeople ? [{ step: "addresses", label: texts.t("console.clients.step_addresses"), href: ADDRESSES }] : []),
    { step: "access", label: texts.t("console.clients.step_access"), href: ACCESS },
    { step: "connect", label: texts.t("console.clients.step_connect"), href: "" },
  ];
  const at = all.findIndex(({ step }) => step === current);
  return all.map(({ label, href }, index) => ({
    label,
    number: index + 1,
    state: index < at ? "done" : index === at ? "current" : "later",
    href: index < at && current !== "connect" && draft !== undefined ? `${href}?draft=${writeDraft(draft)}` : undefined,
  }));
}
