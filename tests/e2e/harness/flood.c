// Sends requests as fast as they are answered: flood PORT CONNECTIONS SECONDS FILE
//
// FILE holds requests, each behind its length in four bytes of the machine's order; they are sent in turn, over and over. Each
// connection has one request under way, is kept as long as the other side keeps it, and is made anew then. At the end one line
// says how long it took, how many answers of each status came, and how many connections were made:
//
//   seconds 15.000 connections 64 status 401 150000
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_ANSWER = 16384, MOST_STATUSES = 1000, AT_ONCE = 256 };

struct connection {
  int socket;
  const char *unsent;
  size_t left;
  size_t received;
  char answer[LONGEST_ANSWER];
};

static const char *requests, *requests_end, *next_request;
static long statuses[MOST_STATUSES], connections_made;
static int poller, port;

static void give_up(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void read_requests(const char *name) {
  struct stat about;
  int file = open(name, O_RDONLY);
  if (file < 0 || fstat(file, &about) != 0) give_up(name);
  char *content = malloc((size_t)about.st_size);
  if (content == NULL || read(file, content, (size_t)about.st_size) != about.st_size) give_up(name);
  close(file);
  requests = next_request = content;
  requests_end = content + about.st_size;
}

static void begin_request(struct connection *each) {
  uint32_t length;
  memcpy(&length, next_request, sizeof length);
  each->unsent = next_request + sizeof length;
  each->left = length;
  each->received = 0;
  next_request = each->unsent + length;
  if (next_request >= requests_end) next_request = requests;
}

static void send_rest(struct connection *each) {
  while (each->left > 0) {
    ssize_t sent = send(each->socket, each->unsent, each->left, MSG_NOSIGNAL);
    if (sent < 0) {
      // What went wrong shows when it is read from.
      return;
    }
    each->unsent += sent;
    each->left -= (size_t)sent;
  }
}

static void connect_anew(struct connection *each) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (each->socket >= 0) close(each->socket);
  each->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (each->socket < 0) give_up("socket");
  if (connect(each->socket, (struct sockaddr *)&address, sizeof address) != 0) give_up("connect");
  int one = 1;
  setsockopt(each->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(each->socket, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = each}};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, each->socket, &event) != 0) give_up("epoll_ctl");
  connections_made++;
  begin_request(each);
  send_rest(each);
}

// Whether the answer is there as a whole; then it is counted.
static int finished(struct connection *each, int *closes) {
  each->answer[each->received] = 0;
  char *end = strstr(each->answer, "\r\n\r\n");
  if (end == NULL) return 0;
  *end = 0;
  char *length = strcasestr(each->answer, "\r\ncontent-length: ");
  *closes = strcasestr(each->answer, "\r\nconnection: close") != NULL;
  size_t body = length == NULL ? 0 : strtoul(length + 18, NULL, 10);
  int complete = each->received >= (size_t)(end - each->answer) + 4 + body;
  if (complete) statuses[atoi(each->answer + 9) % MOST_STATUSES]++;
  *end = '\r';
  return complete;
}

static void receive(struct connection *each) {
  for (;;) {
    ssize_t got = recv(each->socket, each->answer + each->received, LONGEST_ANSWER - 1 - each->received, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      connect_anew(each);
      return;
    }
    each->received += (size_t)got;
    int closes = 0;
    if (!finished(each, &closes)) continue;
    if (closes) {
      connect_anew(each);
      return;
    }
    begin_request(each);
    send_rest(each);
  }
}

int main(int count, char **words) {
  if (count != 5) return 2;
  port = atoi(words[1]);
  int connections = atoi(words[2]);
  double seconds = atof(words[3]);
  read_requests(words[4]);
  poller = epoll_create1(EPOLL_CLOEXEC);
  struct connection *all = calloc((size_t)connections, sizeof *all);
  if (poller < 0 || all == NULL) give_up("memory");
  double began = now();
  for (int each = 0; each < connections; each++) {
    all[each].socket = -1;
    connect_anew(&all[each]);
  }
  struct epoll_event ready[AT_ONCE];
  while (now() - began < seconds) {
    int found = epoll_wait(poller, ready, AT_ONCE, 100);
    for (int each = 0; each < found; each++) {
      struct connection *connection = ready[each].data.ptr;
      if (connection->left > 0) send_rest(connection);
      if (ready[each].events & ~(uint32_t)EPOLLOUT) receive(connection);
    }
  }
  printf("seconds %.3f connections %ld", now() - began, connections_made);
  for (int status = 0; status < MOST_STATUSES; status++) {
    if (statuses[status] > 0) printf(" status %d %ld", status, statuses[status]);
  }
  printf("\n");
  return 0;
}
