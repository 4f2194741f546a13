// Which Environments are gone for good: their ids are never given again, so what a Node still holds of them nobody will ask for.

import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import type { ControlContext } from '../context.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { Handler } from '../handler.ts';

/** Of those that a Node asks about. One that is being deleted is not gone yet. */
export function createGoneEnvironments({ view }: Pick<ControlContext, 'view'>): Handler<typeof table.agent.gone> {
  return async ({ principal, body }) => {
    if (principal.kind !== 'node') throw new Failure('forbidden', { message: 'Only an agent asks what its Node need not keep.' });
    return { gone: body.environments.filter((id) => view.get(environmentRecords, id) === undefined) };
  };
}
