// Whether a schedule can be kept: the same parser reads it here and where the ticks are made.

import { Cron } from 'croner';

const NICKNAMES: ReadonlySet<string> = new Set(['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@hourly']);
/** Any fixed start serves to find out whether a pattern ever matches. */
const START = new Date(Date.UTC(2024, 0, 1));

/** What is wrong with a cron expression of five fields (six with seconds), or null. */
export function scheduleTrouble(cron: string): string | null {
  const fields = cron.trim().split(/\s+/u);
  if (!NICKNAMES.has(cron) && fields.length !== 5 && fields.length !== 6) {
    return `expected five fields (minute hour day month weekday) or six (with seconds in front), found ${fields.length} in ${JSON.stringify(cron.slice(0, 60))}`;
  }
  if (cron.length > 200) return 'a cron expression has at most 200 characters';
  try {
    const next = new Cron(cron, { paused: true, timezone: 'UTC' }).nextRun(START);
    return next === null ? `${JSON.stringify(cron)} never comes` : null;
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^\w+: /u, '') : String(error);
    return `is not a valid cron expression: ${reason}`;
  }
}

/** What is wrong with the name of a time zone, or null. */
export function timezoneTrouble(timezone: string): string | null {
  try {
    // Throws where there is no such zone.
    Intl.DateTimeFormat('en', { timeZone: timezone });
    return null;
  } catch {
    return `expected a time zone such as Europe/Berlin or UTC, found ${JSON.stringify(timezone.slice(0, 60))}`;
  }
}
