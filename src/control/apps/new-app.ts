// How an App begins, whether somebody makes it or its first Release does.

import { Failure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { App } from '../../model/documents.ts';
import { PLATFORM_APP } from '../../model/service-policy.ts';
import { teamRecords } from '../auth/records.ts';
import { DEFAULT_TEAM } from '../auth/teams.ts';
import type { ControlContext } from '../context.ts';

/** An App of the default Team without a Release; nothing is written. Throws `invalid_input` for a name that is taken by the platform. */
export function newApp(
  context: ControlContext,
  of: { readonly name: string; readonly gitUrl: string | null; readonly id: string | undefined },
): App {
  if (of.name === PLATFORM_APP) {
    throw new Failure('invalid_input', {
      message: `${PLATFORM_APP} is the name of the platform itself among Apps: its own Services are called ${PLATFORM_APP}.<service>.`,
      hint: 'Choose another name.',
    });
  }
  const team = context.view.byName(teamRecords, DEFAULT_TEAM);
  if (team === undefined) throw new Failure('unavailable', { message: 'The platform has no Team yet.' });
  const nowMs = context.clock.now();
  return {
    id: of.id ?? newId(nowMs, context.random),
    name: of.name,
    teamId: team.document.id,
    gitUrl: of.gitUrl,
    lastRelease: 0,
    state: 'active',
    createdAtMs: nowMs,
  };
}
