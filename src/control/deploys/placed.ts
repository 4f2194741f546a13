// Where an Instance goes, as it stands in its record.

import type { InstanceSpec } from '../../model/documents.ts';
import type { Place } from '../scheduler/snapshot.ts';

export function placedAt({ nodeId, cores }: Place): Pick<InstanceSpec, 'nodeId' | 'cores'> {
  return { nodeId, ...(cores === null ? {} : { cores }) };
}
