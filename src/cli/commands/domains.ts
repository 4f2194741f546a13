// `libra domains ca`: what a browser has to trust for https to the Apps of this platform.

import type { Command } from '../command.ts';

export const domainsCa: Command = {
  summary: "Print the certificate of the platform's own authority, for clients that shall trust it.",
  example: 'libra domains ca > libra-ca.pem',
  run: async (_input, context) => {
    const client = await context.client();
    const reply = await client.domains.authority({});
    context.output.line(reply.certificate.trimEnd());
    context.output.value(reply);
    return 0;
  },
};
