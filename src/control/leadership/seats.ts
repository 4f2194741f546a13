// The modules of the present term. When this control plane begins or ceases to lead they are built anew; those of the last term answer
// until then, and what they still write is refused by their fence.

import { startLoop } from '../../lib/loop.ts';
import { scopedView } from '../../store/scoped-view.ts';
import type { ControlContext } from '../context.ts';
import type { Leadership, Term } from './leadership.ts';

interface Served {
  servePlatform(): void;
  stop(): Promise<void>;
}

export interface SeatsOptions<M extends Served> {
  readonly leadership: Pick<Leadership, 'term' | 'isSure'>;
  readonly build: (context: ControlContext, leads: boolean) => Promise<M>;
}

export interface Seats<M extends Served> {
  /** Those that answer now. */
  modules(): M;
  /** Leads, with modules that know it. */
  leads(): boolean;
  /** Leadership may have changed. */
  wake(): void;
  settled(): Promise<void>;
  stop(): Promise<void>;
}

const RETRY_MS = 250;
const CATCH_UP_MS = 3_000;

/** Resolves with modules that fit what `term()` says now. */
export async function createSeats<M extends Served>(context: ControlContext, { leadership, build }: SeatsOptions<M>): Promise<Seats<M>> {
  const { clock, log } = context;

  const seat = async (term: Term | null) => {
    const scoped = scopedView(context.view, term?.fence ?? null);
    const modules = await build({ ...context, view: scoped.view }, term !== null).catch((error: unknown) => {
      scoped.close();
      throw error;
    });
    modules.servePlatform();
    const stop = async (): Promise<void> => {
      await modules.stop();
      scoped.close();
    };
    return { term, modules, stop };
  };

  let current = await seat(leadership.term());
  const loop = startLoop({
    clock,
    everyMs: 60_000,
    errorDelayMs: RETRY_MS,
    onError: (error) => log.error({ error }, 'the modules of this term cannot be built'),
    run: async () => {
      const term = leadership.term();
      if (term === current.term) return undefined;
      // All that was written before it led is known then.
      if (term !== null && term.fence !== null) await context.view.waitFor(term.fence.revision, AbortSignal.timeout(CATCH_UP_MS));
      if (term !== leadership.term()) return 0;
      const before = current;
      current = await seat(term);
      await before.stop();
      return leadership.term() === term ? undefined : 0;
    },
  });

  return {
    modules: () => current.modules,
    leads: () => current.term !== null && current.term === leadership.term() && leadership.isSure(),
    wake: () => loop.wake(),
    settled: () => loop.settled(),
    stop: async () => {
      await loop.stop();
      await current.stop();
    },
  };
}
