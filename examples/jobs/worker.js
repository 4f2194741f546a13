// Does something every second until it is told to stop; it listens nowhere.

let done = 0;
const timer = setInterval(() => {
  done += 1;
  console.log(`worked off job ${done}`);
}, 1000);
process.on('SIGTERM', () => {
  clearInterval(timer);
  console.log('worker leaves');
});
