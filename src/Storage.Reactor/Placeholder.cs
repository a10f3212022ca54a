namespace Storage.Reactor;
