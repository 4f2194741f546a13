// Whether somebody listens at a Unix socket: the only sure sign that a keeper is up.

import net from 'node:net';

/** True when a connection to the path is accepted. Never rejects. */
export function socketAnswers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    const done = (result: boolean): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}
