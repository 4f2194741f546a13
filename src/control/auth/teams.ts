// The Team that everything belongs to until there are others.

import { isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { Team } from '../../model/documents.ts';
import { create } from '../../store/records.ts';
import type { ControlContext } from '../context.ts';
import { teamRecords } from './records.ts';

export const DEFAULT_TEAM = 'default';

/** The Team `default`, made where it is missing. */
export async function ensureDefaultTeam(context: Pick<ControlContext, 'view' | 'clock' | 'random'>): Promise<Team> {
  const { view, clock, random } = context;
  const existing = view.byName(teamRecords, DEFAULT_TEAM);
  if (existing !== undefined) return existing.document;
  const team: Team = { id: newId(clock.now(), random), name: DEFAULT_TEAM, createdAtMs: clock.now() };
  try {
    await view.commit(create(teamRecords, team));
    return team;
  } catch (error) {
    const other = isFailure(error, 'exists') ? view.byName(teamRecords, DEFAULT_TEAM) : undefined;
    if (other === undefined) throw error;
    return other.document; // made by another control meanwhile
  }
}
