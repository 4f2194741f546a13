// Whether a principal may do something to one object: the permission is known to be there, the object's owner is looked up here. What
// does not exist is left to the handler, which says `not_found`.

import type { Endpoint } from '../../api/endpoint.ts';
import { Failure } from '../../lib/failure.ts';
import type { View } from '../../store/view.ts';
import { appRecords } from '../apps/records.ts';
import { nodeSpecRecords, runtimeRecords } from '../cluster/records.ts';
import type { Principal } from '../handler.ts';
import { LIBRAD_SERVICES } from './permissions.ts';

type ResolvedScope =
  | { readonly kind: 'platform' }
  /** The Team that owns the object; null where the object does not exist. */
  | { readonly kind: 'team'; readonly teamId: string | null; readonly object: string };

/** What the endpoint's permission is asked on, for these path parameters. */
function resolveScope(
  view: Pick<View, 'byName' | 'get'>,
  endpoint: Pick<Endpoint, 'scope'>,
  params: Readonly<Record<string, string>>,
): ResolvedScope {
  switch (endpoint.scope) {
    case 'none':
    case 'platform':
      return { kind: 'platform' };
    case 'app':
    case 'environment': {
      const name = params['app'] ?? '';
      return { kind: 'team', teamId: view.byName(appRecords, name)?.document.teamId ?? null, object: `App ${name}` };
    }
    case 'node': {
      const name = params['node'] ?? '';
      const runtimeId = view.byName(nodeSpecRecords, name)?.document.runtimeId;
      const runtime = runtimeId === undefined ? undefined : view.get(runtimeRecords, runtimeId);
      return { kind: 'team', teamId: runtime?.document.teamId ?? null, object: `Node ${name}` };
    }
  }
}

/** The function throws `forbidden` where the principal's permissions do not reach the object. */
export function createAuthorise(
  view: Pick<View, 'byName' | 'get'>,
): (principal: Principal, endpoint: Endpoint, params: Readonly<Record<string, string>>) => void {
  return (principal, endpoint, params) => {
    const scope = resolveScope(view, endpoint, params);
    switch (principal.kind) {
      case 'owner':
        return; // of all Teams
      case 'node':
      case 'edge':
        // Machines act for the platform; objects of a Team are none of theirs.
        if (scope.kind === 'platform') return;
        throw new Failure('forbidden', { message: `${principal.name} has no access to ${scope.object}.` });
      case 'instance':
        // What it may call says by itself whose it is: the caller's own Environment.
        if (endpoint.scope === 'none' && LIBRAD_SERVICES.has(endpoint.permission)) return;
        throw new Failure('forbidden', {
          message: `${principal.name} has no access to ${scope.kind === 'team' ? scope.object : 'the platform'}.`,
        });
      case 'anonymous':
        throw new Failure('forbidden', { message: 'This needs a credential.' });
    }
  };
}
