// Which certificates the Edges hold: one for every host that a Route claims, from an ACME authority where that has issued one, else of the
// platform's own. They travel in the route table, so that every Edge has the same ones and a change is a swap.

import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import type { CertificateSource } from '../routing/table.ts';
import { openLocalAuthority } from './local-authority.ts';
import { domainRecords } from './records.ts';
import type { Domain, IssuedCertificate } from './records.ts';

export interface Certificates {
  readonly source: CertificateSource;
  readonly authorityPem: string;
}

export async function createCertificates(context: ControlContext, deps: { readonly sealer: Sealer }): Promise<Certificates> {
  const { view, clock } = context;
  const authority = await openLocalAuthority(context, deps.sealer);
  const opened = new WeakMap<IssuedCertificate, string>();
  /** Its key; null where it cannot be opened, which must not keep the route table from everybody. */
  const open = (host: string, issued: IssuedCertificate): string | null => {
    const known = opened.get(issued);
    if (known !== undefined) return known;
    try {
      const keyPem = deps.sealer.open(issued.sealedKey, sealedAs(host)).toString('utf8');
      opened.set(issued, keyPem);
      return keyPem;
    } catch (error) {
      context.log.error({ error, host }, 'the key of a certificate cannot be opened; the own authority stands in');
      return null;
    }
  };
  return {
    authorityPem: authority.certificatePem,
    source: {
      of: (host) => {
        const issued = view.get(domainRecords, host)?.document.certificate ?? null;
        const openedKey = issued === null || issued.untilMs <= clock.now() ? null : open(host, issued);
        if (issued !== null && openedKey !== null)
          return { name: host, chainPem: issued.chainPem, keyPem: openedKey, untilMs: issued.untilMs };
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
