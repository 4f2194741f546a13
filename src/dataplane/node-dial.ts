// The way to a target from the machine that this Edge runs on: what runs here is dialled as it is, what runs elsewhere is asked for at the
// data port of its Node, unless it listens in a network that this machine's operator trusts. An address on another machine's loopback is
// never dialled: here it would be somebody else's. And a Node that says any other address of an Instance cannot make the Edge go there.

import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { dialDirect } from '../proxy/dial.ts';
import type { Trusted } from '../proxy/client-address.ts';
import type { Dial, Target } from '../proxy/dial.ts';
import { createDataPortClient } from '../tunnel/data-port-client.ts';
import { connectGreeted } from '../tunnel/greeted.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';

export interface NodeDialOptions {
  /** Of this machine; null: there is no other one. */
  readonly nodeId: string | null;
  readonly identity: () => MachineIdentity | null;
  /** Addresses of other machines that are dialled as they are. */
  readonly near: Trusted;
  readonly clock: Clock;
}

export interface NodeDial {
  readonly dial: Dial;
  /** Lets go of what it keeps for later. */
  stop(): void;
}

export function createNodeDial({ nodeId, identity, near, clock }: NodeDialOptions): NodeDial {
  if (nodeId === null) return { dial: greeted(dialDirect, clock), stop: () => undefined };
  const client = createDataPortClient({ identity, clock });
  /** A table that an older version has kept may not say where; there was one machine then. */
  const isHere = (target: Target): boolean => target.nodeId === nodeId || (target.nodeId ?? '') === '';
  const dial: Dial = async (target, timeoutMs, reader, halfEnds = false) => {
    if (isHere(target) || near.has(target.host)) return await dialDirect(target, timeoutMs, reader);
    const { id: instanceId, nodeId: there, generation = 0, via } = target;
    if (via === undefined) {
      throw new Failure('unreachable', {
        message: `Instance ${instanceId} runs on Node ${there}, which has no data port: it cannot be reached from here.`,
        hint: 'Let the agent there open one, or let an Edge run there.',
      });
    }
    const end = halfEnds ? 'half' : 'reset';
    return await client.connect({ nodeId: there, ...via }, { instanceId, generation, end }, timeoutMs, reader);
  };
  return { dial: greeted(dial, clock), stop: () => client.stop() };
}

/** Where the other end greets, a connection is one only then. */
function greeted(dial: Dial, clock: Clock): Dial {
  return (target, timeoutMs, reader, halfEnds) => {
    if (target.greets !== true) return dial(target, timeoutMs, reader, halfEnds);
    const where = `The program behind session ${target.id}`;
    return connectGreeted((through) => dial(target, timeoutMs, through, halfEnds), reader, { timeoutMs, clock, where });
  };
}
