// Whose a call is: the Environment of the Instance that makes it. Nothing in a path or a body can name another one.

import { Failure } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import { KEY_NAME, KEY_NAME_WORDS } from '../../model/key-name.ts';
import type { View } from '../../store/view.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import { environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { Operation } from '../../store/collection.ts';
import type { Principal } from '../handler.ts';

export type Place = Extract<Principal, { readonly kind: 'instance' }>;

/** Throws `forbidden` for everybody but Instances. */
export function placeOf(principal: Principal): Place {
  if (principal.kind === 'instance') return principal;
  throw new Failure('forbidden', {
    message: `${principal.name} is no Instance: this service is for Apps, each in its own Environment.`,
    hint: 'Call it from inside of an Instance, with the token of LIBRA_IDENTITY_FILE.',
  });
}

/** The name of a key or lock, as it stands in a path. Throws `invalid_input`. */
export function checkName(name: string): string {
  if (KEY_NAME.test(name)) return name;
  throw new Failure('invalid_input', { message: `The name of a key or lock ${KEY_NAME_WORDS}.` });
}

/** Fails a commit where the Environment is gone: nothing is kept of one that is. */
export function whileItIsThere({ environmentId }: Pick<Place, 'environmentId'>): Operation {
  return { compare: [{ key: `${environmentRecords.name}/${environmentId}`, exists: true }], writes: [] };
}

/** Throws `conflict` where the Environment is being deleted. */
export function refuseLeaving(view: View, { environmentId }: Pick<Place, 'environmentId'>): void {
  if (view.get(environmentRecords, environmentId)?.document.state === 'active') return;
  throw new Failure('conflict', { message: 'The Environment is being deleted; nothing is kept for it any more.' });
}

/** Whether the Instance still runs, as the view knows: a stream ends with it. */
export function stillRuns(view: View, { instanceId }: Pick<Place, 'instanceId'>): boolean {
  if (view.get(instanceSpecRecords, instanceId) === undefined) return false;
  const status = view.get(instanceStatusRecords, instanceId)?.document;
  return status === undefined || !FINAL_INSTANCE_PHASES.has(status.phase);
}
