from toolchat.engine.worker.server import main

main()
