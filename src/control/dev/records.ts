// Records of DevSessions.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { DevSession } from '../../model/documents.ts';

/** What two sessions of one Entrypoint cannot both have, kept apart by the store. */
export const sessionName = (session: Pick<DevSession, 'environmentId' | 'entrypoint' | 'mode' | 'key'>): string =>
  `${session.environmentId}/${session.entrypoint}/${session.mode === 'replace' ? '*' : session.key}`;

export const sessionRecords: Collection<DevSession> = defineCollection<DevSession>({
  name: 'dev-sessions',
  uniqueName: sessionName,
  indexes: { environment: (session) => session.environmentId },
});
