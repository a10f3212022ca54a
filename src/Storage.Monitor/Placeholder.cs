namespace Storage.Monitor;
