// The services that Librad provides to Apps, each under a permission of its own; Instances call them through the API Proxy, or here.

import type { table } from '../../api/table.ts';
import type { Sealer } from '../config/sealer.ts';
import type { Values } from '../config/values.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import type { ChangeFeed } from './change-feed.ts';
import { createConfig } from './config.ts';
import { createDiscovery } from './discovery.ts';
import type { DiscoveryDeps } from './discovery.ts';
import { createKv } from './kv.ts';
import { createLeftOverReconciler } from './left-over.ts';
import { createLocks } from './locks.ts';

export interface LibradDeps {
  readonly sealer: Sealer;
  /** Of what Apps keep under keys. */
  readonly feed: ChangeFeed;
  readonly leads: boolean;
  readonly values: Pick<Values, 'resolveValues' | 'openValue'>;
  readonly urlOf: DiscoveryDeps['urlOf'];
}

export interface Librad {
  readonly handlers: {
    readonly kv: NounHandlers<typeof table.kv>;
    readonly locks: NounHandlers<typeof table.locks>;
    readonly config: NounHandlers<typeof table.config>;
    readonly discovery: NounHandlers<typeof table.discovery>;
  };
  readonly reconcilers: readonly Reconciler[];
  /** Called with the name of a reconciler that has something to do earlier than it said; returns the unsubscriber. */
  readonly onEarlier: (listener: (reconciler: string) => void) => () => void;
  stop(): void;
}

export function createLibrad(context: ControlContext, { sealer, feed, leads, values, urlOf }: LibradDeps): Librad {
  const locks = createLocks(context);
  const kv = createKv(context, { sealer, feed, leads, limits: context.settings.kv, whileHeld: locks.whileHeld });
  return {
    handlers: {
      kv: kv.handlers,
      locks: locks.handlers,
      config: createConfig(context, { values }),
      discovery: createDiscovery(context, { urlOf }),
    },
    reconcilers: [kv.expiry, locks.expiry, createLeftOverReconciler(context, kv.kv)],
    onEarlier: (listener) => {
      const unsubscribes = [kv.onEarlier(() => listener(kv.expiry.name)), locks.onEarlier(() => listener(locks.expiry.name))];
      return () => {
        for (const unsubscribe of unsubscribes) unsubscribe();
      };
    },
    stop: locks.stop,
  };
}
