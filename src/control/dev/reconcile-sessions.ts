// Ends sessions whose time is over, whose laptop has been away for long, or whose Environment goes, and writes down where laptops are
// connected as Edges say it. What is written outlives this control plane, so that a restart cuts nobody off.

import { isDeepStrictEqual } from 'node:util';
import { isFailure } from '../../lib/failure.ts';
import type { DevSession, SessionAttachment } from '../../model/documents.ts';
import type { Stored } from '../../store/collection.ts';
import { remove, update } from '../../store/records.ts';
import { appRecords } from '../apps/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { Routing } from '../routing/routing.ts';
import { sessionRecords } from './records.ts';

const EVERY_MS = 5_000;
/** A laptop that is away for so long is in nobody's way any more. */
const AWAY_MS = 600_000;

export function createSessionsReconciler(context: ControlContext, { attachments }: Pick<Routing, 'attachments'>): Reconciler {
  const { view, clock } = context;

  /** Why it ends now; null: it does not. */
  const over = (session: DevSession, nowMs: number): string | null => {
    const environment = view.get(environmentRecords, session.environmentId)?.document;
    const app = view.get(appRecords, session.appId)?.document;
    if (environment === undefined || app === undefined || environment.state === 'deleting' || app.state === 'deleting')
      return 'its Environment is being deleted';
    if (session.expiresAtMs <= nowMs) return 'its time was over';
    if (session.attached === null && session.lastAttachedMs + AWAY_MS <= nowMs) return 'its laptop was away for ten minutes';
    return null;
  };

  const settle = async (stored: Stored<DevSession>, attached: SessionAttachment | null): Promise<void> => {
    const { document: session } = stored;
    const nowMs = clock.now();
    const lastAttachedMs = session.attached === null && attached === null ? session.lastAttachedMs : nowMs;
    const next: DevSession = isDeepStrictEqual(attached, session.attached) ? session : { ...session, attached, lastAttachedMs };
    const why = over(next, nowMs);
    const subject = { appId: session.appId, environmentId: session.environmentId };
    const whose = `the session ${session.key} of ${session.owner} (${session.from})`;
    if (why !== null) {
      await view.commit(remove(sessionRecords, stored));
      context.event({ level: 'info', kind: 'session.ended', message: `Ended ${whose}: ${why}.`, subject });
    } else if (next !== session) {
      await view.commit(update(sessionRecords, stored, next));
    }
  };

  return {
    name: 'dev-sessions',
    everyMs: EVERY_MS,
    wakeOn: [sessionRecords.name, environmentRecords.name],
    run: async () => {
      const attachmentOf = attachments();
      for (const stored of view.list(sessionRecords)) {
        try {
          await settle(stored, attachmentOf(stored.document.id, stored.document.attached));
        } catch (error) {
          // It was ended meanwhile, or changed: the next pass sees what is true then.
          if (!isFailure(error, 'conflict')) throw error;
        }
      }
    },
  };
}
