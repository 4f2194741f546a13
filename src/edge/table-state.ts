// What control has said so far: a snapshot with the deltas since. Pure; a message that does not follow the one before is a gap, after
// which only a new snapshot counts.

import type { RouteTable, TableCertificate, TableMessage } from '../api/dataplane.ts';

export interface TableState {
  readonly sequence: number;
  readonly table: RouteTable;
}

/** The state after a message; null where it leaves a gap. A ping changes nothing. */
export function applyMessage(state: TableState | null, message: TableMessage): TableState | null {
  switch (message.type) {
    case 'snapshot':
      return { sequence: message.sequence, table: message.table };
    case 'taps':
    case 'ping':
      return state;
    case 'delta': {
      if (state === null || message.sequence !== state.sequence + 1) return null;
      const groups = new Map(state.table.groups.map((group) => [group.id, group]));
      for (const id of message.removeGroups) groups.delete(id);
      for (const group of message.putGroups) groups.set(group.id, group);
      return {
        sequence: message.sequence,
        table: {
          rules: message.rules ?? state.table.rules,
          groups: [...groups.values()],
          certificates: certificatesAfter(state.table.certificates ?? [], message),
        },
      };
    }
  }
}

/** The same list where nothing changed, so that whoever holds it sees that. */
function certificatesAfter(
  before: readonly TableCertificate[],
  { putCertificates = [], removeCertificates = [] }: Extract<TableMessage, { type: 'delta' }>,
): readonly TableCertificate[] {
  if (putCertificates.length === 0 && removeCertificates.length === 0) return before;
  const byName = new Map(before.map((certificate) => [certificate.name, certificate]));
  for (const name of removeCertificates) byName.delete(name);
  for (const certificate of putCertificates) byName.set(certificate.name, certificate);
  return [...byName.values()];
}
