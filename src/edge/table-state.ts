// What control has said so far: a snapshot with the deltas since. Pure; a message that does not follow the one before is a gap, after
// which only a new snapshot counts.

import type { RouteTable, TableMessage } from '../api/dataplane.ts';

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
      return { sequence: message.sequence, table: { rules: message.rules ?? state.table.rules, groups: [...groups.values()] } };
    }
  }
}
