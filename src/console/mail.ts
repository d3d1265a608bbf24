/** Console: mails that wait, were sent or failed, and sending them again. What a mail says is shown nowhere. */
import { AppError, ERRORS } from "../errors.ts";
import { confirmPage, textOf } from "./form.ts";
import type { ConsolePage, Visit } from "./page.ts";
import { type Cell, listPage, moment } from "./table.ts";

const SECTION = "mail";
const MAIL = "/admin/mail";
const BADGES: Readonly<Record<string, "good" | "info" | "danger">> = { sent: "good", queued: "info", failed: "danger" };

export const mailPages: readonly ConsolePage[] = [
  listPage({
    path: MAIL,
    section: SECTION,
    operation: "listMails",
    filters: (visit) => [
      {
        name: "state",
        label: visit.texts.t("console.mail.state"),
        options: Object.keys(BADGES).map((value) => ({ value, label: stateOf(value, visit) })),
      },
    ],
    // A state that there is not is no filter.
    asked: ({ state }) => ({ state: state !== undefined && Object.hasOwn(BADGES, state) ? state : undefined }),
    frame: ({ texts, may }) => ({
      title: texts.t("console.nav.mail"),
      lead: texts.t("console.mail.lead"),
      action: may("mail:write") ? { label: texts.t("console.mail.retry_all"), href: `${MAIL}/retry` } : undefined,
    }),
    head: ({ texts }) => [
      texts.t("console.mail.to"),
      texts.t("console.mail.template"),
      texts.t("console.mail.when"),
      texts.t("console.mail.state"),
    ],
    row(mail, visit) {
      const { texts, may } = visit;
      const state = textOf(mail, "state");
      const act =
        state !== "sent" && may("mail:write")
          ? { label: texts.t("console.mail.retry"), href: `${MAIL}/${textOf(mail, "id")}/retry` }
          : undefined;
      const cells: readonly Cell[] = [
        { text: textOf(mail, "to"), small: textOf(mail, "error") },
        { text: textOf(mail, "template"), isCode: true },
        {
          text: moment(visit, mail["sent_at"] ?? mail["created_at"]),
          small: attempts(Number(mail["attempts"]), visit),
        },
        { text: stateOf(state, visit), badge: BADGES[state] ?? "plain", act },
      ];
      return cells;
    },
    empty: ({ texts }) => ({ title: texts.t("console.mail.none"), lead: texts.t("console.mail.none_lead") }),
  }),
  confirmPage({
    path: `${MAIL}/retry`,
    section: SECTION,
    shows: ["listMails"],
    operation: "retryMails",
    isDangerous: false,
    model: async ({ texts }) => ({
      title: texts.t("console.mail.retry_all_title"),
      crumbs: [{ label: texts.t("console.nav.mail"), href: MAIL }],
      ends: [],
      stays: [texts.t("console.mail.retry_all_sent"), texts.t("console.mail.retry_all_stays")],
      submit: texts.t("console.mail.retry_all"),
      isGentle: true,
      cancel: { label: texts.t("console.cancel"), href: MAIL },
    }),
    done: (visit) => visit.go(MAIL, "mails_retried"),
  }),
  {
    path: `${MAIL}/:mail_id/retry`,
    section: SECTION,
    shows: ["listMails"],
    does: ["retryMail"],
    // The address has no page of its own: whoever comes here by a reload sees the list.
    show: async (visit) => visit.go(MAIL),
    async submit(visit) {
      try {
        await visit.ask("retryMail");
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== "mail_unknown") throw error;
        visit.show(
          "console/detail",
          {
            ...{ status: error.status, title: visit.texts.t("console.mail.retry_refused") },
            crumbs: [{ label: visit.texts.t("console.nav.mail"), href: MAIL }],
          },
          {
            parts: [
              {
                title: ERRORS.mail_unknown.message,
                help: visit.texts.t("console.mail.retry_refused_lead"),
                acts: [{ label: visit.texts.t("console.mail.back"), href: MAIL, kind: "secondary" }],
              },
            ],
          },
        );
        return;
      }
      visit.go(MAIL, "mail_retried");
    },
  },
];

function stateOf(state: string, { texts }: Visit): string {
  if (state === "sent") return texts.t("console.mail.sent");
  return state === "queued" ? texts.t("console.mail.queued") : texts.t("console.mail.failed");
}

function attempts(count: number, { texts }: Visit): string | undefined {
  if (count < 2) return undefined;
  return texts.t("console.mail.attempts", { count });
}
