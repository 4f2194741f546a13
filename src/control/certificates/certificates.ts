// Which certificates the Edges hold: one for every host that a Route claims, from an ACME authority where that has issued one, else of the
// platform's own. They travel in the route table, so that every Edge has the same ones and a change is a swap.

import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import type { CertificateSource } from '../routing/table.ts';
import { openLocalAuthority } from './local-authority.ts';
import { domainRecords } from './records.ts';
import type { Domain } from './records.ts';

export interface Certificates {
  readonly source: CertificateSource;
  readonly authorityPem: string;
}

export async function createCertificates(context: ControlContext, deps: { readonly sealer: Sealer }): Promise<Certificates> {
  const { view, clock } = context;
  const authority = await openLocalAuthority(context, deps.sealer);
  return {
    authorityPem: authority.certificatePem,
    source: {
      of: (host) => {
        const issued = view.get(domainRecords, host)?.document.certificate ?? null;
        if (issued !== null && issued.untilMs > clock.now()) {
          const keyPem = deps.sealer.open(issued.sealedKey, sealedAs(host)).toString('utf8');
          return { name: host, chainPem: issued.chainPem, keyPem, untilMs: issued.untilMs };
        }
        const { name, chainPem, keyPem, untilMs } = authority.issue(host);
        return { name, chainPem, keyPem, untilMs };
      },
      forget: (host) => authority.forget(host),
    },
  };
}

export function sealedAs(host: Domain['id']): string {
  return `domains/${host}`;
}
