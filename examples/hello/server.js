// A web server in a few lines: it listens where Libra says and tells which Instance answered.

import { createServer } from 'node:http';

const { PORT = '3000', HOST = '127.0.0.1', LIBRA_RELEASE = '?', LIBRA_SLOT = '?' } = process.env;

const server = createServer((request, response) => {
  if (request.url === '/healthz') {
    response.end('ok\n');
    return;
  }
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`Hello from Libra! Release ${LIBRA_RELEASE}, slot ${LIBRA_SLOT}.\n`);
});

server.listen(Number(PORT), HOST, () => console.log(`hello listens on ${HOST}:${PORT}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
