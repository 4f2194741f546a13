// Which port an Instance gets: its own from attempt to attempt, as long as nobody else listens there. A fixed port that is taken is a
// reason that names the holder.

import { Failure, isFailure } from '../lib/failure.ts';
import { describeListener } from '../sys/listeners.ts';
import { isPortFree } from '../sys/ports.ts';
import type { PortAllocator } from '../sys/ports.ts';

export interface Ports {
  /** `fixed`: exactly that one, or `port_taken`. Proven free at that moment. */
  take(instanceId: string, fixed: number | null): Promise<number>;
  release(instanceId: string): void;
}

/** `nameOf` tells people which Instance an id is. */
export function createPorts(allocator: PortAllocator, nameOf: (instanceId: string) => string): Ports {
  return {
    take: async (instanceId, fixed) => {
      if (fixed === null) {
        const port = await allocator.allocate(instanceId);
        if (await isPortFree(port)) return port;
        // A stranger took it since the last attempt.
        allocator.release(instanceId);
        return allocator.allocate(instanceId);
      }
      try {
        await allocator.claim(instanceId, fixed);
      } catch (error) {
        const holder = isFailure(error, 'port_taken') ? error.details?.['holder'] : undefined;
        if (typeof holder !== 'string') throw error;
        throw new Failure('port_taken', {
          message: `Port ${fixed} is in use by ${nameOf(holder)} on this Node.`,
          hint: 'Let the program listen on $PORT instead of a fixed port, or stop the other one.',
          cause: error,
        });
      }
      if (await isPortFree(fixed)) return fixed;
      allocator.release(instanceId);
      throw new Failure('port_taken', {
        message: `Port ${fixed} is in use by ${describeListener(fixed)?.text ?? 'another program'} on this Node.`,
        hint: 'Let the program listen on $PORT instead of a fixed port, or stop that one.',
      });
    },
    release: (instanceId) => allocator.release(instanceId),
  };
}
