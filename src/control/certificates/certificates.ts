// Which certificates the Edges hold: one for every host that a Route claims. They travel in the route table, so that every Edge has the
// same ones and a change is a swap.

import type { TableCertificate } from '../../api/dataplane.ts';
import type { table } from '../../api/table.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { openLocalAuthority } from './local-authority.ts';

export interface Certificates {
  readonly handlers: { readonly domains: NounHandlers<typeof table.domains> };
  readonly source: {
    /** For a canonical host, a wildcard included; the same one until it is nearly over. */
    readonly of: (host: string) => TableCertificate;
    readonly forget: (host: string) => void;
  };
}

export async function createCertificates(context: ControlContext, deps: { readonly sealer: Sealer }): Promise<Certificates> {
  const authority = await openLocalAuthority(context, deps.sealer);
  return {
    source: {
      of: (host) => {
        const { name, chainPem, keyPem, untilMs } = authority.issue(host);
        return { name, chainPem, keyPem, untilMs };
      },
      forget: (host) => authority.forget(host),
    },
    handlers: {
      domains: {
        authority: async () => ({ certificate: authority.certificatePem }),
      },
    },
  };
}
