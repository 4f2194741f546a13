// Whether the authorities that a Route names for the certificates of clients can be what they are taken for.

import { X509Certificate } from 'node:crypto';
import { messageOf } from '../../lib/failure.ts';

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/gu;

/** Null where every certificate of the text is one of an authority. */
export function authorityProblem(pem: string): string | null {
  const texts = pem.match(PEM) ?? [];
  if (texts.length === 0) return 'there is no certificate in it';
  for (const [index, text] of texts.entries()) {
    const which = texts.length === 1 ? 'the certificate' : `certificate ${index + 1}`;
    try {
      const certificate = new X509Certificate(text);
      if (!certificate.ca) return `${which} (${certificate.subject.replaceAll('\n', ', ')}) is not one of an authority`;
    } catch (error) {
      return `${which} cannot be read: ${messageOf(error)}`;
    }
  }
  return null;
}
