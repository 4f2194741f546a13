// Where a host name leads, as DNS says: an order for one that leads nowhere would only be counted by the authority as a failure.

import { Resolver, lookup } from 'node:dns/promises';
import { Failure, messageOf } from '../../lib/failure.ts';

const TIMEOUT_MS = 3_000;
const TRIES = 2;
/** The name is not there, or has no addresses of the kind. */
const NOTHING: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA']);

/** Addresses in order; none: the name has none. Null: DNS cannot be asked, or does not say. Never rejects. */
export type Resolve = (host: string) => Promise<readonly string[] | null>;

/** @param servers addresses of resolvers, with a port where it is not 53; none: as the machine does it, its hosts file included. Throws `invalid_input` where one is no address. */
export function createResolve(servers: readonly string[]): Resolve {
  if (servers.length === 0) {
    return async (host) => {
      const found = await ask(lookup(host, { all: true }));
      return found === null ? null : found.map(({ address }) => address).toSorted();
    };
  }
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  try {
    resolver.setServers([...servers]);
  } catch (error) {
    throw new Failure('invalid_input', { message: `The DNS servers of ACME cannot be used: ${messageOf(error)}.`, cause: error });
  }
  return async (host) => {
    const kinds = await Promise.all([ask(resolver.resolve4(host)), ask(resolver.resolve6(host))]);
    const addresses = kinds.flatMap((kind) => kind ?? []);
    return addresses.length === 0 && kinds.includes(null) ? null : addresses.toSorted();
  };
}

/** Nothing where the name is not there; null where that is not known. */
async function ask<T>(asking: Promise<readonly T[]>): Promise<readonly T[] | null> {
  try {
    return await asking;
  } catch (error) {
    return error instanceof Error && 'code' in error && NOTHING.has(error.code) ? [] : null;
  }
}
