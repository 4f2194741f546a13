// Counts its visits in a file on the volume, so that a new version goes on where the old one stopped.

import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

const file = join(process.env.LIBRA_VOLUME_DATA, 'visits');
let visits = 0;
try {
  visits = Number(readFileSync(file, 'utf8'));
} catch {
  // The first start finds no file.
}

const server = createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok\n');
  visits += 1;
  writeFileSync(file, String(visits));
  return response.end(`${process.env.GREETING}, visitor ${visits}\n`);
});
server.listen(Number(process.env.PORT), process.env.HOST);
process.on('SIGTERM', () => server.close(() => process.exit(0)));
