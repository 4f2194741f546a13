// The parties of the table in force: who provides what, and which Instances may call as whom. Looked up for every request, so kept by
// name and by Instance.

import type { RouteParty } from '../api/dataplane.ts';
import type { TableChange } from '../dataplane/table-state.ts';

/** An Instance that lives, as the table knows it. */
export interface KnownInstance {
  readonly party: RouteParty;
  readonly nodeId: string;
  readonly uses: readonly string[];
}

export interface Parties {
  change(change: Pick<TableChange, 'putParties' | 'removeParties'>): void;
  named(app: string, environment: string): RouteParty | null;
  instance(id: string): KnownInstance | null;
}

const nameOf = (app: string, environment: string): string => `${app}/${environment}`;

export function createParties(): Parties {
  const byId = new Map<string, RouteParty>();
  const byName = new Map<string, RouteParty>();
  const instances = new Map<string, KnownInstance>();

  const remove = (id: string): void => {
    const party = byId.get(id);
    if (party === undefined) return;
    byId.delete(id);
    // An Environment that was deleted and made anew has its name already, where both come in one message.
    if (byName.get(nameOf(party.app, party.environment)) === party) byName.delete(nameOf(party.app, party.environment));
    for (const callers of party.callers) {
      for (const instance of Object.keys(callers.instances)) if (instances.get(instance)?.party === party) instances.delete(instance);
    }
  };

  return {
    change: ({ putParties, removeParties }) => {
      for (const id of removeParties) remove(id);
      for (const party of putParties) {
        remove(party.id);
        byId.set(party.id, party);
        byName.set(nameOf(party.app, party.environment), party);
        for (const { uses, instances: nodes } of party.callers) {
          for (const [id, nodeId] of Object.entries(nodes)) instances.set(id, { party, nodeId, uses });
        }
      }
    },
    named: (app, environment) => byName.get(nameOf(app, environment)) ?? null,
    instance: (id) => instances.get(id) ?? null,
  };
}
