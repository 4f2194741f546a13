// Who calls. A token says which Instance, on the word of its Node; the table says whether that Instance lives, where, and as whom it may
// call. Without control both go on: the table is the last one, and Nodes sign for themselves.

import type { InstanceClaims, TokenVerifier } from '../tunnel/instance-token.ts';
import type { CallingParty } from '../model/service-policy.ts';
import type { Parties } from './parties.ts';

export interface Caller extends CallingParty {
  readonly entrypoint: string;
  readonly instanceId: string;
  /** By which the platform's own Services know it too. */
  readonly token: string;
}

/** `known`: it is clear who calls, and nobody lets it. */
export type Identified = { readonly caller: Caller } | { readonly why: string; readonly hint: string; readonly known?: true };

export type IdentifyCaller = (token: string | undefined) => Identified;

const SEND = 'Send the text of the file that LIBRA_IDENTITY_FILE names, read anew for each connection, as X-Libra-Identity.';

export function createIdentifyCaller(verifier: TokenVerifier, parties: Parties): IdentifyCaller {
  return (token) => {
    if (token === undefined) return { why: 'The request does not say who calls.', hint: SEND };
    const verified = verifier.verify(token);
    if (!verified.ok) return { why: `The identity of the request does not count: ${verified.why}.`, hint: SEND };
    const { claims, nodeId } = verified;
    const known = parties.instance(claims.instanceId);
    if (known === null) return unknownInstance(claims, parties);
    if (known.nodeId !== nodeId || known.party.id !== claims.environmentId) {
      return { why: `The identity of the request is of Instance ${claims.instanceId}, which another Node runs.`, hint: SEND };
    }
    const { app, environment } = known.party;
    return { caller: { app, environment, uses: known.uses, entrypoint: claims.entrypoint, instanceId: claims.instanceId, token } };
  };
}

/** It is gone, or it uses nothing at all: only those that use something are in the table. */
function unknownInstance({ app, environment, instanceId }: InstanceClaims, parties: Parties): Identified {
  const party = parties.named(app, environment);
  const hint = 'What an App calls stands under `uses` in its libra.yaml.';
  if (party === null || party.callers.length === 0) return { why: `${app}/${environment} uses no Services.`, hint, known: true };
  return { why: `Instance ${instanceId} of ${app}/${environment} does not run any more, or its Release uses no Services.`, hint };
}
