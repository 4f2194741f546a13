// The port at which the API Proxy listens in networks of containers: that of http, so that `http://<service>.<app>.libra` needs none, where
// this process may take it.

import { readFileSync } from 'node:fs';

const HTTP_PORT = 80;
const OTHER_PORT = 7480;

export function insidePort(): number {
  if (process.getuid?.() === 0) return HTTP_PORT;
  try {
    const first = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
    return first <= HTTP_PORT ? HTTP_PORT : OTHER_PORT;
  } catch {
    return OTHER_PORT; // no such rule is known here
  }
}
