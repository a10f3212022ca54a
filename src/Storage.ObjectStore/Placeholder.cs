namespace Storage.ObjectStore;
