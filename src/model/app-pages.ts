// Pages of an App's own, for when nothing of it answers: which of the Edge's situations each stands for, and what is filled in.

/** In the manifest's words. `default` stands for all that are not named. */
export const PAGE_NAMES = ['starting', 'stopped', 'paused', 'unavailable', 'error', 'denied', 'default'] as const;
export type PageName = (typeof PAGE_NAMES)[number];

/** HTML by name. */
export type AppPages = Readonly<Partial<Record<PageName, string>>>;

/** Of one page. They stand in the route table, which every Edge keeps. */
export const PAGE_BYTES = 16 * 1024;

const SITUATIONS: Readonly<Record<string, PageName>> = {
  starting: 'starting',
  stopped: 'stopped',
  paused: 'paused',
  no_instance: 'unavailable',
  refused: 'unavailable',
  busy: 'unavailable',
  broken: 'error',
  timeout: 'error',
  forbidden: 'denied',
  unauthorized: 'denied',
  client_certificate: 'denied',
  too_many: 'denied',
  too_large: 'denied',
};

/** The page for a situation, with `{{status}}` and `{{request}}` filled in; null where the App has none. @param requestId plain text without markup. */
export function appPage(pages: AppPages, situation: string, status: number, requestId: string): string | null {
  const name = Object.hasOwn(SITUATIONS, situation) ? SITUATIONS[situation] : undefined;
  const text = name === undefined ? undefined : (pages[name] ?? pages.default);
  return text?.replaceAll('{{status}}', String(status)).replaceAll('{{request}}', requestId.replaceAll(/[^\w.:-]/gu, '')) ?? null;
}
